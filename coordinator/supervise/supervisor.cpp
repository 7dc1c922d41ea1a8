#include "supervise/supervisor.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <csignal>
#include <utility>

#include "cli/values.hpp"

namespace bulkhead::coordinator {

const char* to_string(WorkerState state) {
  switch (state) {
    case WorkerState::kLaunching:
      return "launching";
    case WorkerState::kHandshaking:
      return "handshaking";
    case WorkerState::kReady:
      return "ready";
    case WorkerState::kDraining:
      return "draining";
    case WorkerState::kExited:
      return "exited";
  }
  return "?";
}

Supervisor::Supervisor(const SupervisorSettings& settings)
    : settings_(settings), random_(settings.seed) {}

Supervisor::Worker* Supervisor::find(WorkerKey key) {
  const auto found = workers_.find(key.worker);
  if (found == workers_.end() || found->second.incarnation != key.incarnation) return nullptr;
  return found->second.state == WorkerState::kExited ? nullptr : &found->second;
}

void Supervisor::start(base::TimePoint now) {
  last_tick_ = now;
  for (std::uint32_t worker = 1; worker <= settings_.workers; ++worker) launch(worker, now);
}

void Supervisor::set_deadline(Worker& worker, base::Duration time, base::TimePoint now) {
  worker.deadline = now + time;
  worker.deadline_set_at = now;
}

void Supervisor::launch(std::uint32_t worker, base::TimePoint now) {
  Worker& entry = workers_[worker];
  BULKHEAD_CHECK(entry.state == WorkerState::kExited, "worker {} is {}", worker,
                 to_string(entry.state));
  ++entry.incarnation;
  entry.state = WorkerState::kLaunching;
  set_deadline(entry, settings_.launch_deadline, now);
  entry.restart_at.reset();
  entry.said_goodbye = false;
  entry.terminated = false;
  entry.replaced = false;
  entry.condemned.reset();
  entry.crash_verdict.clear();
  actions_.push_back(LaunchWorker{{worker, entry.incarnation}});
}

void Supervisor::launched(WorkerKey key, base::TimePoint now) {
  Worker* worker = find(key);
  if (worker == nullptr || worker->state != WorkerState::kLaunching) return;
  worker->state = WorkerState::kHandshaking;
  worker->deadline.reset();
  // It slipped in while the run was ending, or was condemned before there was a process to kill.
  if (draining_ && !worker->condemned) {
    worker->state = WorkerState::kDraining;
    worker->condemned = drain_reason_;
  }
  if (worker->condemned) {
    actions_.push_back(KillWorker{key});
  } else {
    set_deadline(*worker, settings_.handshake_deadline, now);
  }
}

bool Supervisor::hello(WorkerKey key, base::TimePoint now) {
  Worker* worker = find(key);
  // Hello may overtake the launcher's word that the process exists.
  if (worker == nullptr || worker->condemned ||
      (worker->state != WorkerState::kLaunching && worker->state != WorkerState::kHandshaking)) {
    return false;
  }
  worker->state = WorkerState::kReady;
  worker->deadline.reset();
  if (draining_) start_draining(key.worker, now);
  return true;
}

void Supervisor::goodbye(WorkerKey key) {
  if (Worker* worker = find(key)) worker->said_goodbye = true;
}

void Supervisor::condemn(WorkerKey key, const std::string& reason) {
  Worker* worker = find(key);
  if (worker == nullptr || worker->condemned) return;
  worker->condemned = reason;
  worker->deadline.reset();
  actions_.push_back(KillWorker{key});
}

void Supervisor::condemn_crash(WorkerKey key, const std::string& verdict,
                               const std::string& reason) {
  Worker* worker = find(key);
  if (worker == nullptr || worker->condemned) return;
  worker->crash_verdict = verdict;
  condemn(key, reason);
}

WorkerEnd Supervisor::launch_failed(WorkerKey key, const std::string& error, base::TimePoint now) {
  Worker* worker = find(key);
  WorkerEnd end{key, WorkerState::kLaunching, "not launched", error, false};
  if (worker == nullptr) return end;
  worker->state = WorkerState::kExited;
  worker->deadline.reset();
  // Trying again at once would fail again: what lacks is on the machine, not in the worker.
  worker->barren = std::max(worker->barren, settings_.barren_limit - 1);
  after_end(key.worker, false, error, now);
  return end;
}

WorkerEnd Supervisor::launch_lost(WorkerKey key, base::TimePoint now) {
  Worker* worker = find(key);
  WorkerEnd end{key, WorkerState::kLaunching, "not launched", "what launched it died", false};
  if (worker == nullptr) return end;
  end.state = worker->state;  // it may even have shaken hands before its launcher could tell of it
  worker->state = WorkerState::kExited;
  worker->deadline.reset();
  after_end(key.worker, false, end.reason, now);
  return end;
}

WorkerEnd Supervisor::exited(WorkerKey key, std::optional<int> exit_code, std::optional<int> signal,
                             bool fruitful, base::TimePoint now) {
  Worker* worker = find(key);
  BULKHEAD_CHECK(worker != nullptr, "worker {}.{} ended twice", key.worker, key.incarnation);
  WorkerEnd end;
  end.key = key;
  end.state = worker->state;
  // One that was refused while it shook hands may go by itself before our SIGKILL meets it.
  const bool ours = exit_code ? worker->condemned.has_value() && !worker->said_goodbye
                              : signal && (worker->condemned || worker->terminated) &&
                                    (*signal == SIGKILL || *signal == SIGTERM);
  if (ours) {
    end.is_crash = !worker->crash_verdict.empty();
    end.verdict = end.is_crash ? worker->crash_verdict : "killed by us";
    end.reason = worker->condemned.value_or("it did not drain in time");
  } else if (exit_code == 0 && worker->said_goodbye) {
    end.verdict = "finished";
  } else if (exit_code) {
    end.verdict = "exited";
    end.reason = fmt::format("exited with code {} without goodbye", *exit_code);
    end.is_crash = true;
  } else if (signal) {
    end.verdict = "signalled";
    const char* name = sigabbrev_np(*signal);
    end.reason = fmt::format("killed by signal {} (SIG{})", *signal, name == nullptr ? "?" : name);
    end.is_crash = true;
  } else {
    end.verdict = "lost";
    end.reason = "ended, and nobody could learn how";
    end.is_crash = true;
  }
  worker->state = WorkerState::kExited;
  worker->deadline.reset();
  after_end(key.worker, fruitful, end.reason, now);
  return end;
}

void Supervisor::after_end(std::uint32_t worker, bool fruitful, const std::string& what,
                           base::TimePoint now) {
  Worker& entry = workers_[worker];
  if (draining_) return;
  if (entry.replaced) return launch(worker, now);
  entry.last_end = what;
  entry.barren = fruitful ? 0 : entry.barren + 1;
  if (entry.barren >= settings_.barren_limit) {
    return give_up(worker, fmt::format("after {} starts", entry.incarnation));
  }
  if (entry.barren <= 1) return restart(worker, now);  // the first restart is immediate
  base::Duration backoff = settings_.first_backoff;
  for (std::uint32_t i = 2; i < entry.barren && backoff < settings_.most_backoff; ++i) backoff *= 2;
  backoff = std::min(backoff, settings_.most_backoff);
  // Full jitter: workers that died together do not come back together.
  entry.restart_at = now + base::Duration(static_cast<std::int64_t>(
                               random_() % static_cast<std::uint64_t>(backoff.count()) + 1));
}

// A worker that waits out a backoff is counted when it would start, not when it died.
void Supervisor::restart(std::uint32_t worker, base::TimePoint now) {
  if (const auto& limit = settings_.restarts) {
    while (!restarts_.empty() && now - restarts_.front() >= limit->period) restarts_.pop_front();
    if (restarts_.size() >= limit->most) {
      const std::string how =
          limit->most == 0
              ? "without a restart"
              : fmt::format("after {} restart{} in {}", limit->most, limit->most == 1 ? "" : "s",
                            format_duration(limit->period));
      return give_up(worker, fmt::format("{} (--restarts {})", how, format_restarts(*limit)));
    }
    restarts_.push_back(now);
  }
  launch(worker, now);
}

void Supervisor::give_up(std::uint32_t worker, const std::string& after) {
  Worker& entry = workers_[worker];
  entry.given_up = true;
  entry.restart_at.reset();
  given_up_.push_back(
      {worker, fmt::format("gave up on worker {} {}: {}", worker, after, entry.last_end)});
}

void Supervisor::replace(WorkerKey key, base::TimePoint now) {
  Worker* worker = find(key);
  if (worker == nullptr || worker->state != WorkerState::kReady || worker->condemned) return;
  worker->replaced = true;
  start_draining(key.worker, now);
}

void Supervisor::drain(const std::string& reason, base::TimePoint now) {
  if (draining_) return;
  draining_ = true;
  drain_reason_ = reason.empty() ? "the run is over" : reason;
  for (auto& [number, worker] : workers_) {
    worker.restart_at.reset();
    switch (worker.state) {
      case WorkerState::kReady:
        if (!worker.condemned) start_draining(number, now);
        break;
      case WorkerState::kHandshaking:  // it has nothing to drain
        if (!worker.condemned) {
          condemn({number, worker.incarnation}, drain_reason_);
          worker.state = WorkerState::kDraining;  // so that its end is no crash
        }
        break;
      case WorkerState::kLaunching:  // killed as soon as it exists: launched()
      case WorkerState::kDraining:
      case WorkerState::kExited:
        break;
    }
  }
}

void Supervisor::start_draining(std::uint32_t number, base::TimePoint now) {
  Worker& worker = workers_[number];
  worker.state = WorkerState::kDraining;
  set_deadline(worker, settings_.drain_deadline, now);
  actions_.push_back(DrainWorker{{number, worker.incarnation}});
}

void Supervisor::kill_all(const std::string& reason) {
  draining_ = true;
  drain_reason_ = reason.empty() ? "the run is over" : reason;
  for (auto& [number, worker] : workers_) {
    worker.restart_at.reset();
    if (worker.state != WorkerState::kExited) condemn({number, worker.incarnation}, drain_reason_);
  }
}

void Supervisor::tick(base::TimePoint now) {
  if (last_tick_ && now - *last_tick_ > settings_.own_lag) {
    for (auto& [number, worker] : workers_) {
      if (!worker.deadline) continue;
      *worker.deadline += now - std::max(*last_tick_, worker.deadline_set_at);
    }
  }
  last_tick_ = now;
  for (auto& [number, worker] : workers_) {
    if (worker.restart_at && *worker.restart_at <= now) restart(number, now);
    if (!worker.deadline || *worker.deadline > now) continue;
    const WorkerKey key{number, worker.incarnation};
    switch (worker.state) {
      case WorkerState::kLaunching:
        condemn(key, "it was not launched in time");
        break;
      case WorkerState::kHandshaking:
        condemn(key, "it did not shake hands in time");
        break;
      case WorkerState::kDraining:
        if (!worker.terminated) {
          worker.terminated = true;
          set_deadline(worker, settings_.term_deadline, now);
          actions_.push_back(TerminateWorker{key});
        } else {
          condemn(key, "it did not drain in time");
        }
        break;
      case WorkerState::kReady:
      case WorkerState::kExited:
        worker.deadline.reset();
        break;
    }
  }
}

std::optional<base::TimePoint> Supervisor::next_deadline() const {
  std::optional<base::TimePoint> next;
  const auto consider = [&](const std::optional<base::TimePoint>& time) {
    if (time && (!next || *time < *next)) next = time;
  };
  for (const auto& [number, worker] : workers_) {
    consider(worker.deadline);
    consider(worker.restart_at);
    // Often enough that a tick which comes late can only mean that we were paused.
    if (worker.deadline && last_tick_) consider(*last_tick_ + settings_.own_lag / 2);
  }
  return next;
}

WorkerState Supervisor::state(WorkerKey key) const {
  const auto found = workers_.find(key.worker);
  if (found == workers_.end() || found->second.incarnation != key.incarnation) {
    return WorkerState::kExited;
  }
  return found->second.state;
}

bool Supervisor::is_current(WorkerKey key) const { return state(key) != WorkerState::kExited; }

std::vector<WorkerKey> Supervisor::ready() const {
  std::vector<WorkerKey> keys;
  for (const auto& [number, worker] : workers_) {
    if (worker.state == WorkerState::kReady) keys.push_back({number, worker.incarnation});
  }
  return keys;
}

bool Supervisor::all_started() const {
  return std::all_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    return entry.second.state == WorkerState::kReady || entry.second.given_up;
  });
}

bool Supervisor::all_exited() const {
  return std::all_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    return entry.second.state == WorkerState::kExited && !entry.second.restart_at;
  });
}

bool Supervisor::all_given_up() const {
  return std::all_of(workers_.begin(), workers_.end(),
                     [](const auto& entry) { return entry.second.given_up; });
}

}  // namespace bulkhead::coordinator
