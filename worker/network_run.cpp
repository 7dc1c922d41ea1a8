#include "network_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/far_ends.hpp>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <bulkhead/wire/channel_message.hpp>
#include <exception>
#include <mutex>
#include <utility>

namespace bulkhead::worker {
namespace {

transport::ConnectionOptions connection_options(const v1::Boot& boot) {
  transport::ConnectionOptions options;
  options.max_message_bytes = boot.max_message_bytes();
  options.token = boot.data_token();
  options.window_bytes = transport::bulk_window_bytes(*transport::kind_of(boot.transport()));
  return options;
}

wire::Identity identity_of(const v1::Boot& boot, std::uint32_t worker, std::uint32_t incarnation) {
  return {boot.run_id(), worker, incarnation};
}

bool crosses(const v1::Boot& boot) { return boot.workers() > 1; }

}  // namespace

std::string NetworkProgram::name_of(std::uint64_t tag) const {
  if (tag < net.tasks().size()) return fmt::format("task '{}'", net.tasks()[tag].name);
  return wire::job_name(tag);
}

Result<std::unique_ptr<transport::Listener>> NetworkRun::listen(const v1::Boot& boot) {
  if (!crosses(boot) || boot.route_coordinator()) return nullptr;
  const auto kind = transport::kind_of(boot.transport());
  if (!kind) return fail(Code::kProtocolError, "transport '{}' is unknown here", boot.transport());
  return transport::Listener::listen(
      *kind, boot.run_directory(),
      wire::channel_listener_name(identity_of(boot, boot.worker(), boot.incarnation())),
      connection_options(boot));
}

NetworkRun::NetworkRun(const v1::Boot& boot, NetworkProgram& program, wire::CrashPage* page,
                       Link& link, std::unique_ptr<transport::Listener> listener)
    : boot_(boot),
      net_(program.net),
      link_(link),
      listener_(std::move(listener)),
      striker_(boot, page),
      operations_(program.net.tasks().size()) {
  if (boot.job_timeout_seconds() > 0) {
    clock_.emplace(page, std::chrono::duration_cast<base::Duration>(
                             std::chrono::duration<double>(boot.job_timeout_seconds())));
  }
  for (std::size_t task = 0; task < net_.tasks().size(); ++task) {
    if (is_here(static_cast<int>(task))) here_.push_back(task);
  }
}

void NetworkRun::on_message(v1::ToWorker&& message) {
  if (message.has_inject()) striker_.arm(message.inject().fault());
  if (message.has_begin_network()) begin_.try_send(std::move(*message.mutable_begin_network()));
}

// In blocks: neighbours in the list mostly talk to one another.
std::uint32_t NetworkRun::worker_of(std::size_t task) const {
  const std::size_t workers = std::max(1u, boot_.workers());
  return static_cast<std::uint32_t>(task * workers / net_.tasks().size()) + 1;
}

void NetworkRun::main() {
  const auto begin = [this] {
    const sched::ExternalWait external;
    return begin_.receive();
  }();
  join_channels();
  if (const auto joined = join_others(*begin); !joined) {
    // The other end has died, which the coordinator knows or will; it begins anew.
    tell_end(here_.front(), 0, joined.error().text, true);
  } else {
    hook_faults();
    start_tasks();
  }
  const sched::ExternalWait external;
  never_.receive();
}

void NetworkRun::join_channels() {
  for (std::size_t place = 0; place < net_.channels().size(); ++place) {
    program::ErasedChannel& channel = *net_.channels()[place];
    const bool sends = is_here(channel.sender());
    const bool receives = is_here(channel.receiver());
    if (sends && receives) {
      if (boot_.model() == v1::MODEL_SEQUENTIAL) {
        channel.join_by_store();
      } else {
        channel.join_in_memory(transfer_of(boot_.transfer()));
      }
    } else if (sends || receives) {
      crossings_.push_back({place, sends});
    }
  }
}

// All at once: over some transports what is said leaves when the other side has accepted.
Result<void> NetworkRun::join_others(const v1::BeginNetwork& begin) {
  sched::WaitGroup saying;
  std::deque<Result<void>> said;
  for (Crossing& end : crossings_) {
    if (!end.sends && !boot_.route_coordinator()) continue;
    said.emplace_back();
    saying.add();
    sched::go(
        [&, &outcome = said.back()] {
          outcome = connect(end, begin);
          saying.done();
        },
        sched::kNoTag);
  }
  Result<void> accepted;
  if (!boot_.route_coordinator()) accepted = accept(begin);
  const sched::ExternalWait external;
  saying.wait();
  for (Result<void>& outcome : said) {
    if (!outcome) return std::move(outcome);
  }
  return accepted;
}

Result<void> NetworkRun::connect(Crossing& end, const v1::BeginNetwork& begin) {
  const sched::ExternalWait external;
  const program::ErasedChannel& channel = *net_.channels()[end.channel];
  std::string name = boot_.data_name();
  if (!boot_.route_coordinator()) {
    const std::uint32_t worker = worker_of(static_cast<std::size_t>(channel.receiver()));
    BULKHEAD_CHECK(static_cast<int>(worker) <= begin.incarnations_size(), "no worker {}", worker);
    name = wire::channel_listener_name(
        identity_of(boot_, worker, begin.incarnations(static_cast<int>(worker) - 1)));
  }
  auto connection = transport::connect(*transport::kind_of(boot_.transport()),
                                       boot_.run_directory(), name, connection_options(boot_));
  if (!connection) return fail(std::move(connection.error()));
  crossing::Port port(std::move(*connection));
  transport::Outcome outcome = port.send(wire::encode(
      wire::ChannelJoin{begin.attempt(), static_cast<std::uint32_t>(end.channel), end.sends}));
  if (outcome == transport::Outcome::kDone) outcome = port.flush();
  if (outcome != transport::Outcome::kDone)
    return fail(Code::kUnavailable, "the other end of channel '{}' is gone", channel.name());
  adopt(end, std::move(port));
  return {};
}

// Until each channel that ends here has its connection. One that says something else is dropped.
Result<void> NetworkRun::accept(const v1::BeginNetwork& begin) {
  const auto open = [this] {
    return std::any_of(crossings_.begin(), crossings_.end(),
                       [](const Crossing& end) { return !end.sends && !end.receiver; });
  };
  const sched::ExternalWait external;
  while (open()) {
    auto connection = listener_->accept();
    if (!connection) return fail(std::move(connection.error()));
    if (*connection == nullptr) {
      sched::wait_readable(listener_->fd());
      continue;
    }
    crossing::Port port(std::move(*connection));
    std::string_view bytes;
    if (port.receive(bytes) != transport::Outcome::kDone) continue;
    const auto join = wire::decode_channel_join(bytes);
    if (!join || !join->sends || join->attempt != begin.attempt()) continue;
    for (Crossing& end : crossings_) {
      if (!end.sends && !end.receiver && end.channel == join->channel) {
        adopt(end, std::move(port));
        break;
      }
    }
  }
  listener_.reset();
  return {};
}

void NetworkRun::adopt(Crossing& end, crossing::Port port) {
  constexpr std::size_t kEnvelope = 1024;
  program::ErasedChannel& channel = *net_.channels()[end.channel];
  if (end.sends) {
    end.sender = std::make_shared<crossing::PipeSender>(
        std::move(port), channel.name(), channel.capacity(), boot_.max_message_bytes() - kEnvelope,
        boot_.cost_stride());
    channel.send_into(end.sender);
  } else {
    end.receiver = std::make_shared<crossing::PipeReceiver>(
        std::move(port), channel.name(), channel.capacity(), boot_.cost_stride());
    channel.receive_from(end.receiver);
  }
}

void NetworkRun::hook_faults() {
  if (boot_.faults().empty() && !boot_.injects()) return;
  for (const std::size_t task : here_) {
    const auto hook = [this, task] {
      strike(task, operations_[task].fetch_add(1, std::memory_order_relaxed) + 1);
    };
    for (program::ErasedChannel* const channel : net_.tasks()[task].sends)
      channel->before_each_send(hook);
    for (program::ErasedChannel* const channel : net_.tasks()[task].receives)
      channel->before_each_receive(hook);
  }
}

void NetworkRun::strike(std::size_t task, std::uint64_t operation) {
  const v1::PlannedFault* planned = nullptr;
  for (const v1::PlannedFault& fault : boot_.faults()) {
    if (fault.job() == task && std::max<std::uint64_t>(1, fault.operation()) == operation)
      planned = &fault;
  }
  if (planned != nullptr || striker_.is_armed()) striker_.suffer(planned);
}

void NetworkRun::start_tasks() {
  if (boot_.model() != v1::MODEL_SEQUENTIAL) {
    for (const std::size_t task : here_)
      sched::go([this, task] { run_task(task); }, sched::Tag{task});
    return;
  }
  for (const std::size_t task : net_.order()) {
    sched::WaitGroup one;
    one.add();
    sched::go(
        [this, task, &one] {
          run_task(task);
          one.done();
        },
        sched::Tag{task});
    one.wait();
  }
}

void NetworkRun::run_task(std::size_t task) {
  const base::TimePoint begin = base::Clock::now();
  std::string error;
  bool peer_lost = false;
  std::optional<JobClock::Attempt> timed;
  if (clock_) timed.emplace(*clock_, task);
  try {
    if (auto answer = net_.run_task(task)) {
      v1::ToCoordinator message;
      message.mutable_answer()->set_checksum(std::move(answer->checksum));
      message.mutable_answer()->set_text(std::move(answer->text));
      link_.send(std::move(message));
    }
  } catch (const sched::PeerLost& lost) {
    peer_lost = true;
    error = lost.what();
  } catch (const std::exception& caught) {
    error = caught.what();
    if (error.empty()) error = "an exception with an empty text";
  } catch (...) {
    error = "an exception that is not a std::exception";
  }
  timed.reset();
  tell_end(task, base::to_seconds(base::Clock::now() - begin), error, peer_lost);
}

void NetworkRun::tell_end(std::size_t task, double seconds, const std::string& error,
                          bool peer_lost) {
  if (!error.empty()) failed_.store(true, std::memory_order_relaxed);
  v1::ToCoordinator message;
  v1::ToCoordinator times;
  v1::TaskEnded& ended = *message.mutable_task_ended();
  ended.set_task(static_cast<std::uint32_t>(task));
  ended.set_error(error);
  ended.set_peer_lost(peer_lost);
  ended.set_service_seconds(seconds);
  ended.set_units(net_.take_done());
  for (const Crossing& end : crossings_) {
    const program::ErasedChannel& channel = *net_.channels()[end.channel];
    const int of = end.sends ? channel.sender() : channel.receiver();
    if (of != static_cast<int>(task)) continue;
    const auto count = [&](auto& pipe) {
      const std::lock_guard lock(pipe.mutex());
      ended.set_messages(ended.messages() + pipe.messages());
      ended.set_bytes(ended.bytes() + pipe.bytes());
      v1::CrossingSamples samples = pipe.take_samples();
      for (v1::CrossingSample& sample : *samples.mutable_samples()) {
        sample.set_lane(static_cast<std::uint32_t>(end.channel));
        *times.mutable_crossing_samples()->add_samples() = std::move(sample);
      }
    };
    if (end.receiver) count(*end.receiver);
    if (!end.sender) continue;
    const std::uint64_t before = ended.messages();
    count(*end.sender);
    ended.set_values(ended.values() + ended.messages() - before);
  }
  // Of a task that failed they would be taken for those of the next attempt.
  if (error.empty() && times.has_crossing_samples()) link_.send(std::move(times));
  link_.send(std::move(message));
  ended_.fetch_add(1, std::memory_order_release);  // pairs with all_ended()
}

}  // namespace bulkhead::worker
