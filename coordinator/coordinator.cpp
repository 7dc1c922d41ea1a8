// The loop and its steps. What is said to a worker stands in worker_talk.cpp, what a death costs
// and what the run came to in accounting.cpp.
#include "coordinator.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <cmath>
#include <csignal>
#include <utility>

#include "cli/options.hpp"
#include "cli/values.hpp"
#include "dispatch/isolated_dispatch.hpp"
#include "dispatch/shared_dispatch.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr auto kProgressEvery = std::chrono::milliseconds(100);
// An allocation that runs away takes some 10 MiB in this time.
constexpr auto kWeighEvery = std::chrono::milliseconds(5);
constexpr int kMessagesPerTurn = 1000;  // so that exits and signals get their turn

DispatchSettings dispatch_settings(const Environment& environment, const RunSettings& settings) {
  DispatchSettings result;
  result.in_flight = settings.in_flight;
  result.max_attempts = settings.max_attempts;
  result.spill_directory = environment.run_directory;
  result.faults = settings.faults;
  result.seed = settings.seed;
  result.rate_per_second = settings.rate_per_second;
  return result;
}

SupervisorSettings supervisor_settings(const RunSettings& settings) {
  SupervisorSettings result;
  result.workers = settings.workers;
  result.handshake_deadline = kHandshakeDeadline;
  result.restarts = settings.restarts;
  result.seed = settings.seed;
  return result;
}

}  // namespace

Coordinator::Coordinator(const Environment& environment, const RunSettings& settings)
    : environment_(environment),
      settings_(settings),
      supervisor_(supervisor_settings(settings)),
      data_token_(random_bytes(32)),
      events_(epoll_create1(EPOLL_CLOEXEC)),
      run_id_(random_bytes(8)),
      timed_fault_done_(settings.faults.size(), false) {
  if (settings.stall) {
    stall_watch_.emplace(*settings.stall);
    watch_period_ = stall_watch_->period();
  }
  const auto watch_every = [&](base::Duration period) {
    watch_period_ = std::min(watch_period_.value_or(period), period);
  };
  if (settings.job_timeout) {
    watch_every(std::max<base::Duration>(*settings.job_timeout / 4, std::chrono::milliseconds(1)));
  }
  if (settings.memory_limit > 0) {
    groups_ = WorkerGroups::open(settings.memory_limit);
    watch_every(kWeighEvery);
  }
  const DispatchSettings dispatch = dispatch_settings(environment, settings);
  if (!settings.tasks.empty()) {
    auto network = std::make_unique<NetworkDispatch>(dispatch, settings.tasks, settings.workers);
    network_ = network.get();
    dispatch_ = std::move(network);
  } else if (is_isolated(settings.model)) {
    dispatch_ = std::make_unique<IsolatedDispatch>(dispatch);
  } else {
    dispatch_ = std::make_unique<SharedDispatch>(dispatch);
  }
  dispatch_->on_service = [this](double seconds) {
    if (!std::isfinite(seconds) || seconds < 0) seconds = 0;  // a worker's word
    outcome_.service.record(seconds);
    service_seconds_ += seconds;
  };
  dispatch_->on_latency = [this](double seconds) {
    outcome_.latency.record(std::isfinite(seconds) ? seconds : 0);
  };
  std::vector<int> sources{environment.host.event_fd(), environment.interrupts.fd(),
                           environment.router.returned_fd()};
  if (settings.rate_per_second > 0) {
    due_ = base::UniqueFd(timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    sources.push_back(due_.get());
  }
  for (const int fd : sources) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kNotALifeline;
    BULKHEAD_CHECK(epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl: errno {}",
                   errno);
  }
  outcome_.fired.assign(settings.faults.size(), 0);
}

Coordinator::~Coordinator() = default;

RunOutcome Coordinator::run() {
  started_at_ = base::Clock::now();
  data_name_ = "data-" + run_name();
  own_usage_before_ = own_usage();
  if (is_isolated(settings_.model) && (network_ == nullptr || settings_.route_coordinator)) {
    if (const auto opened = open_data_plane(); !opened) {
      reason_ = opened.error().text;
      return outcome();
    }
  }
  supervisor_.start(started_at_);
  perform_actions();
  while (!supervisor_.all_exited()) {
    wait_for_events();
    if (data_) data_->take();
    if (relay_) relay_->take();
    take_messages();  // before exits: what a dead worker still said counts
    end_cut_links();
    end_cut_off();
    take_host_events();
    take_interrupts();
    fire_timed_faults();
    watch_workers();
    supervisor_.tick(base::Clock::now());
    begin_when_ready();
    hand_out_due_jobs();
    end_when_finished();
    perform_actions();
  }
  return outcome();
}

void Coordinator::wait_for_events() {
  const base::TimePoint now = base::Clock::now();
  std::optional<base::TimePoint> until = supervisor_.next_deadline();
  const auto consider = [&](base::TimePoint time) {
    if (!until || time < *until) until = time;
  };
  if (ready_at_ && !ending_) {
    for (std::size_t i = 0; i < settings_.faults.size(); ++i) {
      // One that is due waits for its target to be ready, which is an event of its own.
      const base::TimePoint due = *ready_at_ + settings_.faults[i].after;
      if (settings_.faults[i].worker && !timed_fault_done_[i] && due > now) consider(due);
    }
    if (settings_.timeout) consider(*ready_at_ + *settings_.timeout);
  }
  if (watch_period_ && ready_at_ && !ending_) consider(watched_at_ + *watch_period_);
  if (settings_.progress && !ending_) consider(progress_at_ + kProgressEvery);
  if (due_) set_due_timer();
  for (const auto& [key, time] : cut_off_) {
    // One that is over it waits to become ready, which is an event of its own.
    if (time + kCutOffGrace > now) consider(time + kCutOffGrace);
  }
  if ((data_ && data_->pending()) || (relay_ && relay_->pending())) consider(now);
  base::Duration timeout(-1);
  if (until) timeout = std::max(*until - now, base::Duration(0));
  if (data_) data_->begin_wait();
  if (environment_.router.wait(events_.get(), timeout).descriptor) note_crash_marks();
  if (settings_.progress && !ending_ && base::Clock::now() >= progress_at_ + kProgressEvery) {
    progress_at_ = base::Clock::now();
    settings_.progress(dispatch_->ledger().final_count(), dispatch_->known_jobs());
  }
}

// Absolute: whatever time has passed since is no delay. Setting it also takes back that it went
// off.
void Coordinator::set_due_timer() {
  itimerspec time{};  // all zero: never
  if (const auto due = dispatch_->next_due(); due && !ending_) {
    const std::int64_t nanoseconds = std::max<std::int64_t>(due->time_since_epoch().count(), 1);
    time.it_value.tv_sec = nanoseconds / 1'000'000'000;
    time.it_value.tv_nsec = nanoseconds % 1'000'000'000;
  }
  BULKHEAD_CHECK(timerfd_settime(due_.get(), TFD_TIMER_ABSTIME, &time, nullptr) == 0,
                 "timerfd_settime: errno {}", errno);
}

void Coordinator::take_messages() {
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    const auto message = environment_.router.receive();
    if (!message) return;
    take_message(*message);
  }
}

void Coordinator::take_host_events() {
  for (HostEvent& event : environment_.host.take_events()) {
    if (const auto* launched = std::get_if<HostLaunched>(&event)) {
      worker_launched(launched->key, launched->pid);
    } else if (const auto* failed = std::get_if<HostLaunchFailed>(&event)) {
      if (failed->error.code == Code::kUnavailable) {
        launch_lost(failed->key);
      } else {
        launch_failed(failed->key, failed->error.text);
      }
    } else {
      worker_exited(std::move(std::get<HostExited>(event)));
    }
  }
}

void Coordinator::take_interrupts() {
  const int count = environment_.interrupts.poll();
  if (count == interrupts_seen_) return;
  const bool again = interrupts_seen_ > 0 || count > 1;
  interrupts_seen_ = count;
  interrupted_ = true;
  stop("interrupted");
  if (again) supervisor_.kill_all("interrupted twice");
}

void Coordinator::stop(const std::string& reason) {
  if (ending_) return;
  ending_ = true;
  ended_at_ = base::Clock::now();
  reason_ = reason;
  dispatch_->give_up(reason);  // no more leases; without effect once there is an answer
  supervisor_.drain(reason, *ended_at_);
}

void Coordinator::fire_timed_faults() {
  if (!ready_at_ || ending_) return;
  const base::TimePoint now = base::Clock::now();
  if (settings_.timeout && now >= *ready_at_ + *settings_.timeout) {
    return stop(fmt::format("not finished after {:.3g} s (--timeout)",
                            base::to_seconds(*settings_.timeout)));
  }
  const std::vector<WorkerKey> ready = supervisor_.ready();
  for (std::size_t i = 0; i < settings_.faults.size(); ++i) {
    const FaultSpec& fault = settings_.faults[i];
    if (!fault.worker || timed_fault_done_[i] || now < *ready_at_ + fault.after) continue;
    const std::uint32_t target = is_isolated(settings_.model) ? *fault.worker : 1;
    const auto key = std::find_if(ready.begin(), ready.end(),
                                  [&](const WorkerKey& k) { return k.worker == target; });
    if (key == ready.end()) continue;
    timed_fault_done_[i] = true;
    // All but signals happen inside a job; the crash page counts them when they fire.
    if (fault.kind != v1::FAULT_SEGV && fault.kind != v1::FAULT_KILL) {
      v1::ToWorker message;
      v1::PlannedFault* planned = message.mutable_inject()->mutable_fault();
      planned->set_index(static_cast<std::uint32_t>(i));
      planned->set_kind(fault.kind);
      planned->set_times(1);
      send(*key, message);
    } else {
      environment_.host.signal(*key, fault.kind == v1::FAULT_SEGV ? SIGSEGV : SIGKILL);
      ++outcome_.fired[i];
    }
  }
}

void Coordinator::watch_workers() {
  const base::TimePoint now = base::Clock::now();
  if (!watch_period_ || !ready_at_ || ending_ || now < watched_at_ + *watch_period_) return;
  watched_at_ = now;
  if (stall_watch_) stall_watch_->begin_round(now);
  for (const WorkerKey& key : supervisor_.ready()) {
    if (settings_.memory_limit > 0 && !workers_.at(key).limited_by_kernel) {
      const double resident = environment_.host.resident_bytes(key).value_or(0);
      if (resident > static_cast<double>(settings_.memory_limit)) {
        workers_.at(key).marked_at = now;
        supervisor_.condemn_crash(key, "limit", memory_reason());
        continue;
      }
    }
    if (!settings_.stall && !settings_.job_timeout) continue;
    const wire::CrashSnapshot page = workers_.at(key).page.snapshot();
    if (settings_.job_timeout && page.overdue_job != wire::kNoJob) {
      condemn_hung(key, page.overdue_job,
                   fmt::format("ran for longer than {}", format_duration(*settings_.job_timeout)),
                   now);
    } else if (stall_watch_) {
      if (const auto job = stall_watch_->look(key, page.slots, now)) {
        condemn_hung(
            key, *job,
            fmt::format("reached no scheduling point for {}", format_duration(*settings_.stall)),
            now);
      }
    }
  }
}

void Coordinator::condemn_hung(WorkerKey key, std::uint64_t job, const std::string& why,
                               base::TimePoint now) {
  WorkerRecord& record = workers_.at(key);
  record.hung_job = job;
  record.marked_at = now;
  if (stall_watch_) stall_watch_->forget(key);
  supervisor_.condemn_crash(key, "hung", fmt::format("{} {}", name_of(job), why));
}

// As people know it.
std::string Coordinator::name_of(std::uint64_t job) const {
  if (job < settings_.tasks.size())
    return fmt::format("task '{}'", wire::printable(settings_.tasks[job], 100));
  return wire::job_name(job);
}

void Coordinator::begin_when_ready() {
  if (ready_at_ || ending_ || !supervisor_.all_started() || supervisor_.ready().empty()) return;
  ready_at_ = base::Clock::now();
  dispatch_->set_time(*ready_at_);
  dispatch_->begin();
}

void Coordinator::hand_out_due_jobs() {
  if (!due_ || !ready_at_ || ending_) return;
  dispatch_->set_time(base::Clock::now());
  dispatch_->tick();
}

void Coordinator::end_when_finished() {
  if (ending_) return;
  // A network needs them all.
  if (network_ != nullptr && !supervisor_.given_up().empty()) {
    dispatch_->give_up(supervisor_.given_up().front().reason);
  }
  if (!dispatch_->finished()) return;
  const base::TimePoint now = base::Clock::now();
  if (dispatch_->answer()) {
    // Every worker still has its memory: the moment to weigh them. After the wall clock's end.
    double pss = 0;
    for (const WorkerKey& key : supervisor_.ready()) {
      std::optional<double>& worker = workers_.at(key).pss_bytes;
      worker = environment_.host.pss_bytes(key);
      pss += worker.value_or(0);
    }
    if (pss > 0) outcome_.repetition.set_pss_bytes(pss);
  }
  stop(dispatch_->answer() ? std::string() : dispatch_->failure());
  ended_at_ = now;
}

// Until nothing is left to do: a send or a launch that fails is itself an event with consequences.
void Coordinator::perform_actions() {
  for (;;) {
    for (const WorkerKey& key : dispatch_->take_replaced())
      supervisor_.replace(key, base::Clock::now());
    const std::vector<Outgoing> messages = dispatch_->take_outgoing();
    const std::vector<SupervisorAction> actions = supervisor_.take_actions();
    if (messages.empty() && actions.empty()) {
      if (data_) data_->flush();
      return;
    }
    for (const Outgoing& outgoing : messages) send(outgoing.to, outgoing.message);
    for (const SupervisorAction& action : actions) {
      if (const auto* starting = std::get_if<LaunchWorker>(&action)) {
        launch(starting->key);
      } else if (const auto* drain = std::get_if<DrainWorker>(&action)) {
        spdlog::debug("draining worker {}.{}", drain->key.worker, drain->key.incarnation);
        v1::ToWorker message;
        message.mutable_drain();
        send(drain->key, message);
      } else if (const auto* terminate = std::get_if<TerminateWorker>(&action)) {
        environment_.host.signal(terminate->key, SIGTERM);
      } else {
        environment_.host.kill_group(std::get<KillWorker>(action).key);
      }
    }
  }
}

}  // namespace bulkhead::coordinator
