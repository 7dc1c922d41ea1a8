#include "support/raw_worker.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/transport/connection.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <memory>
#include <utility>

#include "crossing/port.hpp"
#include "support/stranger.hpp"

namespace bulkhead::test {
namespace {

constexpr int kExitUnexpected = 99;
constexpr unsigned kRawWorker = 2;

// Of this process; fixed once look_at_boot() has returned.
v1::Boot own_boot;

// An empty one where there is none: worker_main() will say so.
v1::Boot peek_boot() {
  std::string bytes(1u << 20, '\0');
  const ssize_t size = recv(wire::kLifelineFd, bytes.data(), bytes.size(), MSG_PEEK);
  v1::Boot boot;
  if (size <= 4 || !boot.ParseFromArray(bytes.data() + 4, static_cast<int>(size) - 4)) return {};
  return boot;
}

class RawWorker {
 public:
  explicit RawWorker(std::string what) : what_(std::move(what)) {
    // Taken now: what comes over the lifeline from here on is its end.
    if (!wire::read_boot(wire::kLifelineFd, 10)) _exit(kExitUnexpected);
    transport::Options options;
    options.max_message_bytes = std::size_t{2} << 30;  // the contract's limit is what is broken
    const wire::Identity identity{own_boot.run_id(), own_boot.worker(), own_boot.incarnation()};
    auto dealer = transport::Dealer::connect({own_boot.run_directory(), own_boot.socket_name()},
                                             wire::encode_identity(identity), options);
    if (!dealer) _exit(kExitUnexpected);
    dealer_ = std::move(*dealer);
  }

  [[noreturn]] void live() {
    if (what_ == "WrongToken") {
      say_hello("not the token", wire::kProtocol);
      if (next().reject().code() != v1::CODE_UNAUTHENTICATED) _exit(kExitUnexpected);
    }
    if (what_ == "OldVersion") sign_misdeed();
    if (on_data_plane()) join();
    say_hello(own_boot.token(), what_ == "OldVersion" ? 0 : wire::kProtocol);
    if (!next().has_welcome()) wait_for_the_end();
    if (what_ == "WrongToken") {
      sign_misdeed();
      be_idle();
    }
    v1::ToCoordinator request;
    request.mutable_request()->set_jobs(1);
    if (on_data_plane()) {
      BULKHEAD_CHECK(wire::encode(request, encoded_).has_value());
      say_data(encoded_);
      std::string_view job;
      if (port_->receive(job) != transport::Outcome::kDone) _exit(kExitUnexpected);
    } else {
      say(request.SerializeAsString());
      if (!next().has_jobs()) _exit(kExitUnexpected);
    }
    sign_misdeed();
    misbehave();
    wait_for_the_end();
  }

 private:
  void misbehave() {
    if (what_ == "SecondHello") say_hello(own_boot.token(), wire::kProtocol);
    if (what_ == "TruncatedProtobuf") say(truncated_message());
    if (what_ == "RandomBytes") say(std::string("\xde\xad\xbe\xef", 4));
    if (what_ == "Nesting") say(nested_bytes(10'000));
    if (what_ == "OneGibibyte") say(std::string(std::size_t{1} << 30, 'x'));
    if (what_ == "Dies") kill(getpid(), SIGKILL);
    if (what_ == "DataGarbage") say_data("\x7fnonsense");
    if (what_ == "DataCutProtobuf") say_data("\4" + truncated_message());
    if (what_ == "DataStrangeResult") {
      wire::encode(wire::ResultMessage{.index = 1'000'000, .bytes = "mine"}, encoded_);
      say_data(encoded_);
    }
    if (what_ == "DataEnds") port_.reset();
  }

  // Before it: afterwards there may be nobody left to do it. Renamed, so that it is seen whole.
  static void sign_misdeed() {
    const char* const file = std::getenv("BULKHEAD_TEST_MISDEED");
    if (file == nullptr) return;
    const std::string part = std::string(file) + ".part";
    std::ofstream(part) << getpid() << std::endl;
    std::rename(part.c_str(), file);
  }

  void say(const std::string& bytes) {
    if (!dealer_->send(std::string(bytes))) _exit(kExitUnexpected);
  }

  bool on_data_plane() const { return what_.starts_with("Data"); }

  void join() {
    transport::ConnectionOptions options;
    options.token = own_boot.data_token();
    auto connection = transport::connect(*transport::kind_of(own_boot.transport()),
                                         own_boot.run_directory(), own_boot.data_name(), options);
    if (!connection) _exit(kExitUnexpected);
    port_ = std::make_unique<crossing::Port>(std::move(*connection));
    const wire::Identity identity{own_boot.run_id(), own_boot.worker(), own_boot.incarnation()};
    wire::encode(wire::JoinMessage{identity, own_boot.token()}, encoded_);
    say_data(encoded_);
  }

  void say_data(const std::string& bytes) {
    if (port_->send(bytes) != transport::Outcome::kDone) _exit(kExitUnexpected);
    if (port_->flush() != transport::Outcome::kDone) _exit(kExitUnexpected);
  }

  void say_hello(const std::string& token, unsigned protocol) {
    v1::ToCoordinator message;
    BULKHEAD_CHECK(message.ParseFromString(
        hello_with(token, protocol, own_boot.worker(), own_boot.incarnation())));
    const auto* registration = program::find_program(own_boot.program());
    BULKHEAD_CHECK(registration != nullptr);
    message.mutable_hello()->set_data_plane(on_data_plane());
    message.mutable_hello()->set_program_digest(
        program::digest(registration->description, wire::build_id()));
    say(message.SerializeAsString());
  }

  v1::ToWorker next() {
    for (;;) {
      if (dealer_->wait({wire::kLifelineFd}, base::Duration(-1)).descriptors[0]) _exit(75);
      const auto message = dealer_->receive();
      if (!message) continue;
      auto decoded = wire::decode_to_worker(message->bytes);
      if (!decoded) _exit(kExitUnexpected);
      return std::move(*decoded);
    }
  }

  // A worker that asks for nothing, and goes when it is told to.
  [[noreturn]] void be_idle() {
    while (!next().has_drain()) {
    }
    v1::ToCoordinator goodbye;
    goodbye.mutable_goodbye();
    say(goodbye.SerializeAsString());
    dealer_->wait({wire::kLifelineFd}, base::Duration(-1));
    _exit(0);
  }

  [[noreturn]] void wait_for_the_end() {
    for (;;) next();
  }

  const std::string what_;
  std::unique_ptr<transport::Dealer> dealer_;
  std::unique_ptr<crossing::Port> port_;  // of the data plane
  std::string encoded_;
};

// Until there is such a file, and the process that it names is gone and reaped.
void wait_for_death(const char* file) {
  pid_t pid = 0;
  while (!(std::ifstream(file) >> pid)) usleep(1000);
  while (kill(pid, 0) == 0) usleep(1000);
}

}  // namespace

void leave_sign(const char* variable) {
  if (const char* file = std::getenv(variable); file != nullptr) {
    close(open(file, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  }
}

bool sign_is_there(const char* variable) {
  const char* file = std::getenv(variable);
  return file == nullptr || access(file, F_OK) == 0;
}

void look_at_boot() {
  own_boot = peek_boot();
  const char* dies = std::getenv("BULKHEAD_TEST_DIE");
  if (dies != nullptr &&
      (dies == std::to_string(own_boot.worker()) || dies == std::string("all"))) {
    abort();
  }
  const char* what = std::getenv("BULKHEAD_TEST_RAW");
  if (what == nullptr || own_boot.worker() != kRawWorker || own_boot.incarnation() != 1) return;
  RawWorker(what).live();
}

void be_a_stranger() {
  const char* kind = std::getenv("BULKHEAD_TEST_STRANGER");
  BULKHEAD_CHECK(kind != nullptr);
  while (!sign_is_there("BULKHEAD_TEST_ATTACK")) usleep(1000);
  Insight insight;
  insight.run_id = own_boot.run_id();
  insight.live_worker = own_boot.worker();
  insight.dead_worker = kRawWorker;
  if (const char* file = std::getenv("BULKHEAD_TEST_MISDEED")) wait_for_death(file);
  // Never freed: the connections end with the process.
  static Stranger* const stranger =
      new Stranger(own_boot.run_directory(), own_boot.socket_name(), insight);
  for (int round = 0; round < 3; ++round) stranger->attack(kind);
  leave_sign("BULKHEAD_TEST_ATTACKED");
}

}  // namespace bulkhead::test
