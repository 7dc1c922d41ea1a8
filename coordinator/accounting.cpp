// What a worker's end cost, and what the run came to.
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/resource.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <csignal>
#include <utility>

#include "cli/options.hpp"
#include "cli/values.hpp"
#include "coordinator.hpp"

namespace bulkhead::coordinator {

Usage own_usage() {
  rusage used{};
  getrusage(RUSAGE_SELF, &used);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return {.user_seconds = seconds(used.ru_utime),
          .system_seconds = seconds(used.ru_stime),
          .voluntary_switches = static_cast<std::uint64_t>(used.ru_nvcsw),
          .involuntary_switches = static_cast<std::uint64_t>(used.ru_nivcsw),
          .minor_faults = static_cast<std::uint64_t>(used.ru_minflt),
          .major_faults = static_cast<std::uint64_t>(used.ru_majflt)};
}

namespace {

v1::WorkerExit exit_of(const WorkerEnd& end, std::uint32_t repetition) {
  v1::WorkerExit exit;
  exit.set_worker(end.key.worker);
  exit.set_incarnation(end.key.incarnation);
  exit.set_verdict(end.verdict);
  exit.set_reason(end.reason);
  exit.set_repetition(repetition);
  exit.set_state(to_string(end.state));
  return exit;
}

// Whose stack it was; "" if none has overflowed.
std::string overflow_of(const WorkerEnd& end, const wire::CrashSnapshot& snapshot) {
  const wire::CrashSnapshot::Fatal& fatal = snapshot.fatal;
  if (end.verdict != "signalled" || !snapshot.has_fatal || !fatal.stack_overflow) return "";
  std::string who = fatal.task == 0 ? "a thread" : fmt::format("goroutine {}", fatal.task);
  if (!fatal.task_name.empty()) who += fmt::format(" '{}'", fatal.task_name);
  return fmt::format("{} overflowed its stack of {} KiB", who, fatal.stack_bytes / 1024);
}

std::string how_to_get_more_stack(const wire::CrashSnapshot::Fatal& fatal) {
  return fatal.task == 0 ? "; 'ulimit -s' says how large it is"
                         : "; go({.stack_bytes = …}, …) gives more";
}

void add(Usage& sum, const Usage& one) {
  sum.user_seconds += one.user_seconds;
  sum.system_seconds += one.system_seconds;
  sum.voluntary_switches += one.voluntary_switches;
  sum.involuntary_switches += one.involuntary_switches;
  sum.minor_faults += one.minor_faults;
  sum.major_faults += one.major_faults;
  sum.peak_rss_bytes = std::max(sum.peak_rss_bytes, one.peak_rss_bytes);
}

v1::Usage usage_of(const Usage& used) {
  v1::Usage usage;
  usage.set_cpu_seconds(used.user_seconds + used.system_seconds);
  usage.set_voluntary_switches(static_cast<double>(used.voluntary_switches));
  usage.set_involuntary_switches(static_cast<double>(used.involuntary_switches));
  usage.set_minor_faults(static_cast<double>(used.minor_faults));
  usage.set_major_faults(static_cast<double>(used.major_faults));
  usage.set_peak_rss_bytes(used.peak_rss_bytes);
  return usage;
}

// Of the workers, all of them dead by now, and of the coordinator since the run began.
void set_usage(const Usage& workers, const Usage& before, v1::Repetition& repetition) {
  const Usage own = own_usage();
  repetition.set_cpu_seconds(workers.user_seconds + workers.system_seconds + own.user_seconds +
                             own.system_seconds - before.user_seconds - before.system_seconds);
  const auto count = [&](std::uint64_t Usage::*of) {
    return static_cast<double>(workers.*of + own.*of - before.*of);
  };
  repetition.set_voluntary_switches(count(&Usage::voluntary_switches));
  repetition.set_involuntary_switches(count(&Usage::involuntary_switches));
  repetition.set_minor_faults(count(&Usage::minor_faults));
  repetition.set_major_faults(count(&Usage::major_faults));
  if (workers.peak_rss_bytes > 0) repetition.set_peak_rss_bytes(workers.peak_rss_bytes);
}

std::string group_name(WorkerKey key) { return fmt::format("{}.{}", key.worker, key.incarnation); }

}  // namespace

void Coordinator::worker_launched(WorkerKey key, pid_t pid) {
  const auto record = workers_.find(key);
  if (record != workers_.end()) record->second.pid = pid;
  // Where it fails the watch still holds the limit.
  const bool limited = groups_ && groups_->add(group_name(key), pid);
  if (record != workers_.end()) record->second.limited_by_kernel = limited;
  supervisor_.launched(key, base::Clock::now());
}

std::string Coordinator::memory_reason() const {
  return fmt::format("went beyond its {} of memory", format_size(settings_.memory_limit));
}

void Coordinator::launch_failed(WorkerKey key, const std::string& why) {
  const WorkerEnd end = supervisor_.launch_failed(key, why, base::Clock::now());
  spdlog::warn("worker {}.{} was not launched: {}", key.worker, key.incarnation, why);
  keep_exit(exit_of(end, settings_.repetition));
}

void Coordinator::keep_exit(v1::WorkerExit&& exit, TraceRef trace) {
  outcome_.exits.push_back(std::move(exit));
  outcome_.traces.push_back(std::move(trace));
}

void Coordinator::launch_lost(WorkerKey key) {
  const auto found = workers_.find(key);
  if (found == workers_.end() || !supervisor_.is_current(key)) return;
  if (data_) data_->drain(key);
  take_messages();
  const wire::CrashSnapshot snapshot = found->second.page.snapshot();
  rescue_results(key, found->second);
  const WorkerEnd end = supervisor_.launch_lost(key, base::Clock::now());
  spdlog::info("worker {}.{} was not launched: {}", key.worker, key.incarnation, end.reason);
  v1::WorkerExit exit = exit_of(end, settings_.repetition);
  if (ending_ || dispatch_->finished() || !found->second.was_ready) {
    dispatch_->count_fired(key, snapshot);
  } else {
    record_loss(exit, key, snapshot, end);
  }
  keep_exit(std::move(exit));
  found->second.modules = {};
  found->second.lifeline.reset();
  found->second.page = {};
}

void Coordinator::worker_exited(HostExited&& exited) {
  const WorkerKey key = exited.key;
  const auto found = workers_.find(key);
  if (found == workers_.end() || !supervisor_.is_current(key)) return;
  WorkerRecord& record = found->second;
  if (data_) data_->drain(key);
  take_messages();  // what it said before it died is safe
  wire::CrashSnapshot snapshot = record.page.snapshot();
  snapshot.hung_job = record.hung_job;
  lent_seconds_ += base::to_seconds(base::Duration(snapshot.lent_ns));
  alone_seconds_ += base::to_seconds(base::Duration(snapshot.alone_ns));
  rescue_results(key, record);
  const base::TimePoint now = base::Clock::now();
  if (groups_) {
    // The kernel's killer leaves no other trace than a SIGKILL.
    if (exited.signal == SIGKILL && groups_->struck(group_name(key)))
      supervisor_.condemn_crash(key, "limit", memory_reason());
    groups_->remove(group_name(key));
  }
  if (exited.exit_code == wire::kDeadlockExit && snapshot.exit_job != wire::kNoJob) {
    supervisor_.condemn_crash(
        key, "deadlock",
        fmt::format("{} can never go on: all goroutines are asleep", name_of(snapshot.exit_job)));
  }
  const bool fruitful = snapshot.finished > 0 || !snapshot.running.empty() ||
                        (dispatch_->was_at_work(key) && !snapshot.has_fatal);
  WorkerEnd end = supervisor_.exited(key, exited.exit_code, exited.signal, fruitful, now);
  snapshot.by_limit = end.verdict == "limit";
  const std::string overflow = overflow_of(end, snapshot);
  if (!overflow.empty()) end.reason = overflow;

  v1::WorkerExit exit = exit_of(end, settings_.repetition);
  if (!overflow.empty()) exit.set_reason(overflow + how_to_get_more_stack(snapshot.fatal));
  if (exited.usage) {
    add(workers_usage_, *exited.usage);
    *exit.mutable_usage() = usage_of(*exited.usage);
    if (record.pss_bytes) exit.mutable_usage()->set_pss_bytes(*record.pss_bytes);
  }
  if (end.is_crash) {
    spdlog::info("worker {}.{} {} while {}", key.worker, key.incarnation, end.reason,
                 to_string(end.state));
  } else {
    spdlog::debug("worker {}.{} {} {}", key.worker, key.incarnation, end.verdict, end.reason);
  }
  if (stall_watch_) stall_watch_->forget(key);
  if (exited.signal) exit.set_signal(static_cast<std::uint32_t>(*exited.signal));
  if (exited.log) exit.set_log(*exited.log);
  if (exited.exit_code) exit.set_exit_code(static_cast<std::uint32_t>(*exited.exit_code));
  if (end.verdict != "finished") {
    exit.set_stderr_tail(wire::printable(exited.stderr_tail, 4 * 4096, true));
  }
  const base::TimePoint detected =
      std::min(record.marked_at.value_or(exited.detected), exited.detected);
  base::TimePoint died = detected;
  if (end.is_crash) {
    if (snapshot.has_fatal && snapshot.fatal.si_code > 0) {
      exit.set_fault_address(fmt::format("{:#x}", snapshot.fatal.address));
    }
    exit.set_stack_overflow(snapshot.has_fatal && snapshot.fatal.stack_overflow);
    const base::TimePoint stamp{base::Duration(snapshot.fault_stamp_ns)};
    if (snapshot.fault_stamp_ns > 0 && stamp <= detected) {
      died = stamp;
      exit.set_detected_after_seconds(base::to_seconds(detected - stamp));
    }
  }
  if (ending_ || dispatch_->finished() || !record.was_ready) {
    dispatch_->count_fired(key, snapshot);
  } else {
    record_loss(exit, key, snapshot, end);
  }
  if (end.verdict != "finished" && !ending_) {
    awaiting_recovery_[key.worker] = outcome_.exits.size();
    died_at_[key.worker] = died;
  }
  TraceRef trace;
  if (end.is_crash && snapshot.has_fatal) {
    trace = environment_.traces.add(record.modules, snapshot.fatal, exit);
  } else if (exited.signal && wire::is_fatal(*exited.signal)) {
    exit.set_backtrace_note("the worker's crash handler left no record: nothing tells where");
  }
  keep_exit(std::move(exit), std::move(trace));
  record.lifeline.reset();
  record.page = {};
  record.modules = {};
}

// What it had finished and could not get out any more is safe all the same.
void Coordinator::rescue_results(WorkerKey key, const WorkerRecord& record) {
  if (ending_ || dispatch_->finished() || !record.was_ready) return;
  dispatch_->set_time(base::Clock::now());
  dispatch_->kept_results(key, wire::kept_results(*record.page.page()));
}

void Coordinator::record_loss(v1::WorkerExit& exit, WorkerKey key,
                              const wire::CrashSnapshot& snapshot, const WorkerEnd& end) {
  std::uint64_t others = 0;
  for (const WorkerKey& other : supervisor_.ready()) {
    others += dispatch_->at_risk(other, workers_.at(other).page.snapshot());
  }
  const Loss loss = dispatch_->worker_lost(
      key, snapshot, end.is_crash,
      fmt::format("{} in worker {}.{}", end.reason, key.worker, key.incarnation));
  exit.set_lost_in_flight(static_cast<double>(loss.lost_in_flight));
  exit.set_results_lost(static_cast<double>(loss.results_lost));
  if (loss.job) exit.set_job(static_cast<double>(*loss.job));
  for (const std::uint64_t job : loss.suspects) exit.add_suspects(static_cast<double>(job));
  if (end.is_crash && loss.at_risk() > 0) {
    exit.set_blast_radius(static_cast<double>(loss.at_risk()) /
                          static_cast<double>(loss.at_risk() + others));
  }
  const double done = static_cast<double>(outcome_.service.count());
  const double mean = done > 0 ? service_seconds_ / done : 0;
  outcome_.work_lost_seconds += loss.seconds.value_or(mean * static_cast<double>(loss.at_risk()));
}

RunOutcome Coordinator::outcome() {
  const Ledger& ledger = dispatch_->ledger();
  const LedgerCounts& counts = ledger.counts();
  v1::Repetition& repetition = outcome_.repetition;
  const bool complete = dispatch_->answer().has_value();
  for (const GivenUpWorker& worker : supervisor_.given_up()) {
    v1::GivenUp& given_up = outcome_.given_up.emplace_back();
    given_up.set_worker(worker.worker);
    given_up.set_repetition(settings_.repetition);
    given_up.set_reason(worker.reason);
  }
  if (!complete && reason_.empty()) {
    reason_ =
        outcome_.given_up.empty() ? "every worker is gone" : outcome_.given_up.back().reason();
  }
  const base::TimePoint end = ended_at_.value_or(base::Clock::now());
  const double wall = ready_at_ ? base::to_seconds(end - *ready_at_) : 0;
  repetition.set_wall_seconds(wall);
  repetition.set_startup_seconds(base::to_seconds(ready_at_.value_or(end) - started_at_));
  set_usage(workers_usage_, own_usage_before_, repetition);
  repetition.set_lent_seconds(lent_seconds_);
  repetition.set_alone_seconds(alone_seconds_);
  const std::uint64_t done = network_ == nullptr ? counts.done : network_->units();
  repetition.set_throughput_per_second(wall > 0 ? static_cast<double>(done) / wall : 0);
  std::uint64_t messages = messages_;
  std::uint64_t bytes = bytes_;
  if (data_) {
    messages += data_->messages();
    bytes += data_->bytes();
  }
  if (network_ != nullptr) {  // from worker to worker
    messages += network_->messages();
    bytes += network_->bytes();
  }
  if (is_isolated(settings_.model)) {
    if (data_) costs_.add(data_->take_samples());
    const std::uint64_t crossed = network_ == nullptr ? messages : network_->values();
    if (auto cost = costs_.cost(static_cast<double>(crossed), repetition.cpu_seconds()))
      *repetition.mutable_cost() = *cost;
  }
  repetition.set_messages(static_cast<double>(messages));
  repetition.set_bytes(static_cast<double>(bytes));
  repetition.set_complete(complete);
  if (outcome_.service.count() > 0) {
    repetition.set_service_median_seconds(outcome_.service.percentile(0.5));
  }
  if (outcome_.latency.count() > 0) {
    repetition.set_latency_median_seconds(outcome_.latency.percentile(0.5));
  }
  v1::Jobs* jobs = repetition.mutable_jobs();
  jobs->set_total(static_cast<double>(ledger.size()));
  jobs->set_done(static_cast<double>(counts.done));
  jobs->set_failed(static_cast<double>(counts.failed));
  jobs->set_quarantined(static_cast<double>(counts.quarantined));
  jobs->set_retried(static_cast<double>(counts.retried));
  jobs->set_lost_in_flight(static_cast<double>(counts.lost_in_flight));
  jobs->set_results_lost(static_cast<double>(counts.results_lost));
  jobs->set_duplicates(static_cast<double>(counts.duplicates));
  for (const JobNote& note : ledger.notes()) {
    const JobEntry entry = ledger.at(note.job);
    v1::JobNote* out = jobs->add_notes();
    out->set_job(static_cast<double>(note.job));
    out->set_outcome(entry.state == JobState::kQuarantined ? "quarantined" : "failed");
    out->set_reason(note.reason);
    out->set_blames(entry.blames);
    out->set_failures(entry.failures);
  }
  if (complete) {
    repetition.set_checksum(wire::printable(dispatch_->answer()->checksum(), 100));
    outcome_.answer_text = wire::printable(dispatch_->answer()->text(), 64 * 1024, true);
    for (const std::string& output : settings_.outputs) {
      outcome_.files[output] = output_path(*answered_by_, output);
    }
  }
  outcome_.began = ready_at_.has_value();
  if (!complete) {
    const std::string got = fmt::format("{} of {}{} {} were done after {:.3g} s", counts.done,
                                        dispatch_->source_ended() ? "" : "at least ", ledger.size(),
                                        network_ == nullptr ? "jobs" : "tasks", wall);
    reason_ = interrupted_ ? got : reason_ + (outcome_.began ? "; " + got : "");
  }
  outcome_.reason = reason_;
  outcome_.interrupted = interrupted_;
  for (std::size_t i = 0; i < outcome_.fired.size(); ++i) {
    outcome_.fired[i] += dispatch_->fired()[i];
  }
  return std::move(outcome_);
}

}  // namespace bulkhead::coordinator
