// What the coordinator and its workers say to each other: launch and boot, handshake, messages, and
// the crash handler's mark.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <cstring>
#include <iterator>
#include <utility>

#include "cli/options.hpp"
#include "coordinator.hpp"

namespace bulkhead::coordinator {
namespace {

// The time it takes says nothing about where the first difference is.
bool equal_secrets(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  }
  return difference == 0;
}

}  // namespace

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  BULKHEAD_CHECK(getrandom(bytes.data(), count, 0) == static_cast<ssize_t>(count),
                 "getrandom: errno {}", errno);
  return bytes;
}

// A crash handler says so on the lifeline, long before the kernel has taken its process apart: this
// is when the crash is known. What it was is learnt from the page and from the exit.
void Coordinator::note_crash_marks() {
  std::array<epoll_event, 64> events{};
  const int count = epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), 0);
  const base::TimePoint now = base::Clock::now();
  for (int i = 0; i < count; ++i) {
    const std::uint64_t packed = events[static_cast<std::size_t>(i)].data.u64;
    if (packed == kNotALifeline) continue;
    const auto record = workers_.find({static_cast<std::uint32_t>(packed >> 32),
                                       static_cast<std::uint32_t>(packed & 0xffffffff)});
    if (record == workers_.end() || record->second.marked_at || !record->second.lifeline) continue;
    char mark = 0;
    // Nothing but the mark ever comes this way; 0 is the end of file of a worker that is gone.
    if (recv(record->second.lifeline.get(), &mark, 1, MSG_DONTWAIT) == 1) {
      record->second.marked_at = now;
    }
  }
}

// A message beyond the limit, or a frame that is none, costs a worker its link, and libzmq connects
// it again without a word. What it sent last is lost: it may wait for ever for an answer, and we
// for a result.
void Coordinator::end_cut_links() {
  for (const int pid : environment_.router.take_returned()) {
    for (const auto& [key, record] : workers_) {
      if (record.pid != pid || !record.was_ready || !supervisor_.is_current(key)) continue;
      supervisor_.condemn(key, fmt::format("protocol error: its link was cut; it sent more than {} "
                                           "bytes at once, or what is no message",
                                           wire::kMaxMessageBytes));
    }
  }
}

void Coordinator::take_message(const transport::Message& message) {
  const auto identity = wire::decode_identity(message.peer);
  if (!identity || identity->run_id != run_id_) return;  // a stranger, or an earlier run's worker
  const WorkerKey key{identity->worker, identity->incarnation};
  const auto record = workers_.find(key);
  if (record == workers_.end()) return;
  ++messages_;
  bytes_ += message.bytes.size();
  dispatch_->set_time(base::Clock::now());
  auto decoded = wire::decode_to_coordinator(message.bytes);
  if (!record->second.was_ready) {
    // Nothing is believed, and nobody is condemned, before the token has been seen.
    if (decoded && decoded->has_hello()) take_hello(key, decoded->hello());
    return;
  }
  if (!supervisor_.is_current(key)) {
    if (decoded && !ending_) dispatch_->late_message(key, std::move(*decoded));
    return;
  }
  if (!decoded) return supervisor_.condemn(key, "protocol error: " + decoded.error().text);
  if (decoded->has_goodbye()) {
    record->second.said_goodbye = true;
    // What it had to say before may still be on its way.
    if (!data_ || !data_->has(key)) take_goodbye(key);
    return;
  }
  take_run_message(key, std::move(*decoded));
}

void Coordinator::take_goodbye(WorkerKey key) {
  supervisor_.goodbye(key);
  workers_.at(key).lifeline.reset();  // its end of file lets the worker go
}

void Coordinator::take_run_message(WorkerKey key, v1::ToCoordinator&& message) {
  if (message.has_crossing_samples()) return costs_.add(message.crossing_samples());
  const bool answered = dispatch_->answer().has_value();
  if (const auto taken = dispatch_->message(key, std::move(message)); !taken) {
    supervisor_.condemn(key, "protocol error: it " + taken.error().text);
  }
  if (!answered && dispatch_->answer()) answered_by_ = key;
}

Result<void> Coordinator::open_data_plane() {
  if (network_ != nullptr) {
    auto relay =
        Relay::open(settings_.transport, environment_.run_directory, data_name_, data_token_);
    if (!relay) return fail(relay.error());
    relay_ = std::move(*relay);
    return wake_for(relay_->fd());
  }
  auto plane = DataPlane::open(settings_.transport, environment_.run_directory, data_name_,
                               data_token_, settings_.cost ? wire::kCostStride : 0, *this);
  if (!plane) return fail(plane.error());
  data_ = std::move(*plane);
  return wake_for(data_->fd());
}

// When it is readable.
Result<void> Coordinator::wake_for(int fd) {
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kNotALifeline;
  if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return fail(Code::kResourceExhausted, "epoll_ctl: {}", std::strerror(errno));
  return {};
}

bool Coordinator::data_joined(const wire::JoinMessage& join) {
  const WorkerKey key{join.identity.worker, join.identity.incarnation};
  const auto found = workers_.find(key);
  if (join.identity.run_id != run_id_ || found == workers_.end() || found->second.joined ||
      !equal_secrets(std::string(join.token), found->second.token)) {
    return false;
  }
  found->second.joined = true;
  if (found->second.greeted) welcome(key);
  return true;
}

void Coordinator::data_message(WorkerKey key, v1::ToCoordinator&& message) {
  dispatch_->set_time(base::Clock::now());
  if (!supervisor_.is_current(key)) {
    if (!ending_) dispatch_->late_message(key, std::move(message));
  } else if (workers_.at(key).was_ready) {
    take_run_message(key, std::move(message));
  } else {
    supervisor_.condemn(key, "protocol error: it sent data before its Hello");
  }
}

void Coordinator::data_closed(WorkerKey key) {
  if (supervisor_.is_current(key) && workers_.at(key).said_goodbye) take_goodbye(key);
}

void Coordinator::data_lost(WorkerKey key, const std::string& why) {
  if (!supervisor_.is_current(key)) return;
  if (!why.empty()) return supervisor_.condemn(key, "protocol error: it sent " + why);
  cut_off_.emplace(key, base::Clock::now());
}

// What it still has to say will never come.
void Coordinator::end_cut_off() {
  if (cut_off_.empty()) return;
  const base::TimePoint now = base::Clock::now();
  const std::vector<WorkerKey> ready = supervisor_.ready();
  std::erase_if(cut_off_, [&](const auto& entry) {
    const auto& [key, time] = entry;
    if (!supervisor_.is_current(key)) return true;
    if (now < time + kCutOffGrace || std::find(ready.begin(), ready.end(), key) == ready.end())
      return false;
    supervisor_.condemn(key, "its data connection ended, and it did not");
    return true;
  });
}

void Coordinator::take_hello(WorkerKey key, const v1::Hello& hello) {
  WorkerRecord& record = workers_.at(key);
  v1::ToWorker answer;
  const auto reject = [&](v1::Code code, const std::string& text) {
    answer.mutable_reject()->set_code(code);
    answer.mutable_reject()->set_text(text);
    send(key, answer);
  };
  if (!equal_secrets(hello.token(), record.token) || hello.worker() != key.worker ||
      hello.incarnation() != key.incarnation) {
    return reject(v1::CODE_UNAUTHENTICATED, "wrong token");
  }
  std::string mismatch;
  if (hello.protocol() != wire::kProtocol) {
    mismatch = fmt::format("it speaks protocol {}, this coordinator {}", hello.protocol(),
                           wire::kProtocol);
  } else if (hello.build_id() != wire::build_id()) {
    mismatch = fmt::format("it was built from library {}, this coordinator from {}",
                           wire::printable(hello.build_id(), 40), wire::build_id());
  } else if (hello.program_digest() != settings_.program_digest) {
    mismatch = fmt::format("its program {} has digest {}, not {}", settings_.program,
                           wire::printable(hello.program_digest(), 40), settings_.program_digest);
  }
  if (!mismatch.empty()) {
    reject(v1::CODE_VERSION_MISMATCH, mismatch);
    return supervisor_.condemn(key, mismatch);
  }
  record.greeted = true;
  record.modules = checked_modules(hello);
  if (!hello.data_plane() || record.joined) welcome(key);  // else once it has joined
}

void Coordinator::welcome(WorkerKey key) {
  v1::ToWorker answer;
  const base::TimePoint now = base::Clock::now();
  if (supervisor_.hello(key, now)) {
    answer.mutable_welcome();
  } else {
    answer.mutable_reject()->set_code(v1::CODE_UNAVAILABLE);
    answer.mutable_reject()->set_text("not expected any more");
  }
  send(key, answer);
  if (answer.has_reject()) return;
  workers_.at(key).was_ready = true;
  if (data_ && !workers_.at(key).joined && !std::exchange(told_of_control_only_, true)) {
    spdlog::warn("worker {} has not joined the data plane: its jobs cross on the control socket",
                 key.worker);
  }
  dispatch_->worker_ready(key);
  if (const auto waiting = awaiting_recovery_.find(key.worker);
      waiting != awaiting_recovery_.end()) {
    outcome_.exits[waiting->second].set_recovered_after_seconds(
        base::to_seconds(now - died_at_[key.worker]));
    awaiting_recovery_.erase(waiting);
  }
}

std::string Coordinator::identity(WorkerKey key) const {
  return wire::encode_identity({run_id_, key.worker, key.incarnation});
}

// In the names of its files.
std::string Coordinator::run_name() const {
  std::string name;
  for (const char byte : run_id_) name += fmt::format("{:02x}", static_cast<unsigned char>(byte));
  return name;
}

// By the place of the setting, as its name comes from the worker's description.
std::string Coordinator::output_path(WorkerKey key, const std::string& setting) const {
  const auto place = std::distance(settings_.outputs.begin(), settings_.outputs.find(setting));
  return fmt::format("{}/output-{}-{}-{}-{}", environment_.run_directory, run_name(), key.worker,
                     key.incarnation, place);
}

void Coordinator::launch(WorkerKey key) {
  spdlog::debug("launching worker {}.{} for {}", key.worker, key.incarnation,
                to_string(settings_.model));
  const auto failed = [&](const std::string& why) { launch_failed(key, why); };
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return failed(fmt::format("socketpair: {}", std::strerror(errno)));
  }
  WorkerRecord record;
  record.lifeline = base::UniqueFd(pair[0]);
  base::UniqueFd worker_end(pair[1]);
  auto page = wire::CrashPageMapping::create();
  if (!page) return failed(page.error().text);
  record.page = std::move(*page);
  record.token = random_bytes(32);

  v1::Boot boot;
  boot.set_protocol(wire::kProtocol);
  boot.set_run_id(run_id_);
  boot.set_worker(key.worker);
  boot.set_incarnation(key.incarnation);
  boot.set_token(record.token);
  boot.set_run_directory(environment_.run_directory);
  boot.set_socket_name(environment_.socket_name);
  boot.set_model(settings_.model);
  boot.set_processors(settings_.processors_per_worker);
  boot.set_in_flight(std::max(1u, settings_.in_flight / settings_.workers));
  boot.set_threads(settings_.threads);
  boot.set_program(settings_.program);
  for (const auto& [name, value] : settings_.settings) {
    v1::Setting* setting = boot.add_settings();
    setting->set_name(name);
    setting->set_value(settings_.outputs.contains(name) ? output_path(key, name) : value);
  }
  for (const std::string& input : settings_.inputs) boot.add_inputs(input);
  boot.set_checkpoint_seconds(settings_.checkpoint ? base::to_seconds(*settings_.checkpoint) : -1);
  boot.set_max_attempts(settings_.max_attempts);
  boot.set_max_message_bytes(wire::kMaxMessageBytes);
  boot.set_handshake_seconds(base::to_seconds(kHandshakeDeadline));
  boot.set_seed(settings_.seed);
  boot.set_job_timeout_seconds(settings_.job_timeout ? base::to_seconds(*settings_.job_timeout)
                                                     : 0);
  boot.set_memory_limit_bytes(settings_.memory_limit);
  boot.set_iterations_per_second(settings_.iterations_per_second);
  boot.set_rate_per_second(settings_.rate_per_second);
  boot.set_transfer(settings_.transfer);
  if (is_isolated(settings_.model)) {
    boot.set_transport(std::string(transport::name_of(settings_.transport)));
    boot.set_data_name(data_name_);
    boot.set_data_token(data_token_);
    boot.set_route_coordinator(settings_.route_coordinator);
    boot.set_cost_stride(settings_.cost ? wire::kCostStride : 0);
  }
  dispatch_->fill_boot(boot);
  if (const auto written = wire::write_boot(record.lifeline.get(), boot); !written) {
    return failed(written.error().text);
  }

  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;  // its end of file stays: told once is enough
  event.data.u64 = (static_cast<std::uint64_t>(key.worker) << 32) | key.incarnation;
  if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, record.lifeline.get(), &event) != 0) {
    return failed(fmt::format("epoll_ctl: {}", std::strerror(errno)));
  }

  LaunchSpec spec;
  spec.key = key;
  spec.executable = settings_.worker_executable;
  spec.fork = settings_.fork_workers;
  spec.lifeline = std::move(worker_end);
  spec.crash_page = record.page.fd();
  if (!settings_.log_prefix.empty()) {
    spec.log =
        fmt::format("{}-worker-{}.{}.log", settings_.log_prefix, key.worker, key.incarnation);
  }
  workers_[key] = std::move(record);
  if (const auto launched = environment_.host.launch(std::move(spec)); !launched) {
    failed(launched.error().text);
  }
}

void Coordinator::send(WorkerKey key, const v1::ToWorker& message) {
  const bool control =
      message.has_welcome() || message.has_reject() || message.has_drain() || message.has_inject();
  if (!control && data_ && workers_.at(key).joined) {
    if (data_->has(key)) data_->send(key, message);  // else it is dead or dying
    return;
  }
  auto bytes = wire::encode(message);
  if (!bytes) return supervisor_.condemn(key, bytes.error().text);
  ++messages_;
  bytes_ += bytes->size();
  const auto sent = environment_.router.send(identity(key), std::move(*bytes));
  // Unavailable: it is dead or dying, which the host tells with its cause. And a name that has not
  // shown its token yet may be anybody's: who does not read a Reject condemns nobody.
  if (!sent && sent.error().code != Code::kUnavailable && workers_.at(key).was_ready &&
      supervisor_.is_current(key)) {
    supervisor_.condemn(key, sent.error().text);
  }
}

}  // namespace bulkhead::coordinator
