#include "link.hpp"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "crash_handler.hpp"
#include "dump.hpp"
#include "modules.hpp"

namespace bulkhead::worker {
namespace {

// A batch of results is closed at this size, so that one slow receiver copy stays short.
constexpr std::size_t kBatchBytes = 256 * 1024;
constexpr auto kRetry = std::chrono::milliseconds(2);  // when the socket's queue was full

std::size_t payload_bytes(const v1::JobResult& result) {
  return result.result().size() + result.error().size() + 32;
}

}  // namespace

Link::Link(const v1::Boot& boot, std::string program_digest, base::UniqueFd lifeline)
    : boot_(boot),
      program_digest_(std::move(program_digest)),
      lifeline_(std::move(lifeline)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  BULKHEAD_CHECK(wake_.get() >= 0, "eventfd: errno {}", errno);
}

void Link::send(v1::ToCoordinator message) {
  {
    base::MutexLock lock(mutex_);
    queue_.push_back(std::move(message));
  }
  wake();
}

void Link::send_result(v1::JobResult result) {
  {
    base::MutexLock lock(mutex_);
    if (queue_.empty() || !queue_.back().has_results() || queue_.back().results().summary() ||
        batch_bytes_ >= kBatchBytes) {
      queue_.emplace_back().mutable_results();
      batch_bytes_ = 0;
    }
    batch_bytes_ += payload_bytes(result);
    *queue_.back().mutable_results()->add_results() = std::move(result);
  }
  wake();
}

v1::ToCoordinator pseudo_failed(bool reduce, const std::string& error) {
  v1::ToCoordinator message;
  message.mutable_pseudo_failed()->set_reduce(reduce);
  message.mutable_pseudo_failed()->set_error(error);
  return message;
}

void Link::send_pseudo_failed(bool reduce, const std::string& error) {
  send(pseudo_failed(reduce, error));
}

void Link::wake() {
  {
    base::MutexLock lock(mutex_);
    if (std::exchange(woken_, true)) return;
  }
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the thread is woken already.
  static_cast<void>(!write(wake_.get(), &one, sizeof one));
}

std::deque<v1::ToCoordinator> Link::take_queue() {
  std::uint64_t count = 0;
  static_cast<void>(!read(wake_.get(), &count, sizeof count));  // empty is fine
  base::MutexLock lock(mutex_);
  woken_ = false;
  batch_bytes_ = 0;
  return std::exchange(queue_, {});
}

void Link::run(LinkHandler& handler, const Dump& dump, const Dump& leaks) {
  prepare_thread_for_crashes();
  const int dump_requests = catch_dump_requests();
  transport::Options options;
  options.max_message_bytes = boot_.max_message_bytes();
  const wire::Identity identity{boot_.run_id(), boot_.worker(), boot_.incarnation()};
  auto dealer = transport::Dealer::connect({boot_.run_directory(), boot_.socket_name()},
                                           wire::encode_identity(identity), options);
  if (!dealer) leave(kExitHandshake, dealer.error().text);
  shake_hands(**dealer);
  handler.on_welcome();

  for (;;) {
    flush(**dealer, handler);
    const auto timeout = backlog_.empty() ? base::Duration(-1) : base::Duration(kRetry);
    const auto ready = (*dealer)->wait({lifeline_.get(), wake_.get(), dump_requests}, timeout);
    if (ready.descriptors[0]) {  // nothing is ever sent after boot: this is the end of file
      if (said_goodbye_) {
        if (const std::string left = leaks ? leaks() : ""; !left.empty()) say("at its end", left);
        leave(0, "");
      }
      leave(kExitCoordinatorGone, "");
    }
    if (ready.descriptors[2] && take_dump_request(dump_requests)) say("SIGQUIT", dump());
    while (auto message = (*dealer)->receive()) {
      auto decoded = wire::decode_to_worker(message->bytes);
      if (!decoded) leave(kExitHandshake, decoded.error().text);
      if (decoded->has_drain()) draining_ = true;
      handler.on_message(std::move(*decoded));
    }
  }
}

void Link::shake_hands(transport::Dealer& dealer) {
  v1::ToCoordinator message;
  auto* hello = message.mutable_hello();
  hello->set_protocol(wire::kProtocol);
  hello->set_build_id(std::string(wire::build_id()));
  hello->set_program_digest(program_digest_);
  hello->set_worker(boot_.worker());
  hello->set_incarnation(boot_.incarnation());
  hello->set_token(boot_.token());
  hello->set_pid(static_cast<std::uint32_t>(getpid()));
  hello->set_data_plane(data_plane_);
  tell_modules(*hello);
  auto bytes = wire::encode(message);
  BULKHEAD_CHECK(bytes.has_value());
  if (auto sent = dealer.send(std::move(*bytes)); !sent) leave(kExitHandshake, sent.error().text);

  const auto deadline =
      base::Clock::now() + std::chrono::duration_cast<base::Duration>(
                               std::chrono::duration<double>(boot_.handshake_seconds()));
  for (;;) {
    const auto left = deadline - base::Clock::now();
    if (left <= base::Duration::zero()) {
      leave(kExitHandshake, "the coordinator did not answer the handshake in time");
    }
    const auto ready = dealer.wait({lifeline_.get()}, left);
    if (ready.descriptors[0]) leave(kExitCoordinatorGone, "");
    if (auto received = dealer.receive()) {
      auto answer = wire::decode_to_worker(received->bytes);
      if (!answer) leave(kExitHandshake, answer.error().text);
      if (answer->has_welcome()) return;
      if (answer->has_reject()) {
        leave(kExitHandshake, "refused: " + wire::printable(answer->reject().text()));
      }
      leave(kExitHandshake, "the coordinator's first message was neither welcome nor reject");
    }
  }
}

void Link::flush(transport::Dealer& dealer, LinkHandler& handler) {
  std::deque<v1::ToCoordinator> queue = take_queue();
  for (const auto& message : queue) {
    auto bytes = wire::encode(message, boot_.max_message_bytes());
    // Single results and inputs were checked when they were made, and a batch is closed long
    // before.
    BULKHEAD_CHECK(bytes.has_value(), "{}", bytes.error().text);
    backlog_.push_back(std::move(*bytes));
  }
  while (!backlog_.empty()) {
    auto sent = dealer.send(std::move(backlog_.front()));
    if (!sent) {
      if (sent.error().code == Code::kResourceExhausted) break;  // tried again after kRetry
      leave(kExitHandshake, sent.error().text);
    }
    backlog_.pop_front();
  }
  if (draining_ && !said_goodbye_ && backlog_.empty() && handler.quiescent()) {
    // Results may have been queued between take_queue() and quiescent(): take them along first.
    bool empty = false;
    {
      base::MutexLock lock(mutex_);
      empty = queue_.empty();
    }
    if (!empty) return wake();
    v1::ToCoordinator message;
    message.mutable_goodbye();
    auto bytes = wire::encode(message);
    BULKHEAD_CHECK(bytes.has_value());
    backlog_.push_back(std::move(*bytes));
    said_goodbye_ = true;
    flush(dealer, handler);
  }
}

void Link::say(const char* about, const std::string& text) const {
  std::fprintf(stderr, "bulkhead-worker %u.%u, %s:\n%s", boot_.worker(), boot_.incarnation(), about,
               text.c_str());
}

void Link::leave(int code, const std::string& why) const {
  if (!why.empty()) {
    std::fprintf(stderr, "bulkhead-worker %u.%u: %s\n", boot_.worker(), boot_.incarnation(),
                 why.c_str());
  }
  // Goroutines may still run: nothing of theirs may be torn down under them.
  _exit(code);
}

}  // namespace bulkhead::worker
