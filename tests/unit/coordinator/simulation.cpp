#include "simulation.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <csignal>
#include <utility>

#include "dispatch/isolated_dispatch.hpp"
#include "dispatch/shared_dispatch.hpp"

namespace bulkhead::coordinator {
namespace {

SupervisorSettings supervisor_settings(const SimulatedPlan& plan, std::uint64_t seed) {
  SupervisorSettings settings;
  settings.workers = plan.workers;
  settings.seed = seed;
  return settings;
}

}  // namespace

SimulatedPlan::SimulatedPlan(std::uint64_t seed) {
  std::mt19937_64 random(seed * 2 + 1);
  const auto below = [&](std::uint64_t bound) { return random() % bound; };
  shared = below(3) == 0;
  workers = shared ? 1 : static_cast<std::uint32_t>(1 + below(4));
  processors = 1 + below(3);
  jobs = below(20) == 0 ? 0 : 1 + below(60);
  in_flight = static_cast<std::uint32_t>(1 + below(12));
  kills = below(2) == 0 ? 0 : static_cast<int>(1 + below(6));
  rough_start = below(5) == 0;
  if (jobs == 0) return;
  const auto some = [&](std::set<std::uint64_t>& into, std::uint64_t most) {
    for (std::uint64_t i = below(most + 1); i > 0; --i) into.insert(below(jobs));
  };
  if (below(2) == 0) {
    some(segv, 2);
    some(kill, 1);
    some(throws, 2);
    some(flaky, 3);
  }
  for (std::uint64_t i = below(3); i > 0; --i) {
    FaultSpec fault;
    fault.kind = static_cast<v1::FaultKind>(v1::FAULT_SEGV + static_cast<int>(below(3)));
    fault.job = below(jobs);
    fault.times = static_cast<std::uint32_t>(1 + below(2));
    faults.push_back(fault);
  }
  // Most of the jobs' times are below 10 ms: some keep up, some do not.
  if (below(3) == 0) rate = static_cast<double>(50 + below(2000));
}

Simulation::Simulation(std::uint64_t seed)
    : random_(seed), plan_(seed), supervisor_(supervisor_settings(plan_, seed)) {
  DispatchSettings settings;
  settings.in_flight = plan_.in_flight;
  settings.max_attempts = plan_.max_attempts;
  settings.faults = plan_.faults;
  settings.rate_per_second = plan_.rate;
  if (plan_.shared) {
    dispatch_ = std::make_unique<SharedDispatch>(settings);
  } else {
    dispatch_ = std::make_unique<IsolatedDispatch>(settings);
  }
  dispatch_->on_latency = [this](double seconds) {
    ++latencies_;
    if (seconds < 0) violated("a job was over before it was due");
  };
  starts_.assign(plan_.jobs, 0);
  deaths_.assign(plan_.jobs, 0);
  fired_.assign(plan_.faults.size(), 0);
}

Simulation::~Simulation() = default;

void Simulation::at(base::Duration delay, std::function<void()> what) {
  events_.emplace(std::pair(now_ + delay, sequence_++), std::move(what));
}

base::Duration Simulation::random_time(int most_microseconds) {
  return std::chrono::microseconds(random_() % static_cast<std::uint64_t>(most_microseconds) + 1);
}

bool Simulation::chance(double probability) {
  return static_cast<double>(random_() % 1'000'000) < probability * 1e6;
}

std::string Simulation::run() {
  supervisor_.start(now_);
  for (int i = 0; i < plan_.kills; ++i) at(random_time(200'000), [this] { kill_somebody(); });
  settle();
  for (int steps = 0; !supervisor_.all_exited() && violation_.empty(); ++steps) {
    if (events_.empty()) {
      violated("nothing more will happen, and the run is not over");
      break;
    }
    if (steps > 200'000) {
      violated("the run does not end");
      break;
    }
    const auto next = events_.begin();
    now_ = next->first.first;
    const auto what = std::move(next->second);
    events_.erase(next);
    what();
    settle();
  }
  if (violation_.empty()) check_end();
  return violation_;
}

// The rest of a turn of the coordinator's loop, and its wait.
void Simulation::settle() {
  supervisor_.tick(now_);
  dispatch_->set_time(now_);
  if (!begun_ && !ending_ && supervisor_.all_started() && !supervisor_.ready().empty()) {
    begun_ = true;
    if (plan_.rate > 0) open_loop_.emplace(plan_.rate, now_);
    dispatch_->begin();
  }
  if (begun_ && !ending_) dispatch_->tick();
  if (!ending_ && dispatch_->finished()) stop(dispatch_->answer() ? "" : dispatch_->failure());
  for (;;) {
    auto messages = dispatch_->take_outgoing();
    const auto actions = supervisor_.take_actions();
    if (messages.empty() && actions.empty()) break;
    for (Outgoing& outgoing : messages) send_down(outgoing.to, std::move(outgoing.message));
    for (const SupervisorAction& action : actions) {
      if (const auto* starting = std::get_if<LaunchWorker>(&action)) {
        launch(starting->key);
      } else if (const auto* drain = std::get_if<DrainWorker>(&action)) {
        v1::ToWorker message;
        message.mutable_drain();
        send_down(drain->key, std::move(message));
      } else {
        const auto* terminate = std::get_if<TerminateWorker>(&action);
        const WorkerKey key =
            terminate != nullptr ? terminate->key : std::get<KillWorker>(action).key;
        if (const auto& worker = workers_.at(key); worker->exists) {
          at(random_time(500), [this, worker, term = terminate != nullptr] {
            die(worker, {}, term ? SIGTERM : SIGKILL);
          });
        }
      }
    }
  }
  auto next = supervisor_.next_deadline();
  const auto due = ending_ ? std::nullopt : dispatch_->next_due();
  if (due && (!next || *due < *next)) next = due;
  if (next && (!wake_at_ || *wake_at_ <= now_ || *next < *wake_at_)) {
    wake_at_ = std::max(*next, now_ + base::Duration(1));
    at(*wake_at_ - now_, [] {});
  }
}

void Simulation::stop(const std::string& reason) {
  ending_ = true;
  dispatch_->give_up(reason);
  supervisor_.drain(reason, now_);
}

void Simulation::launch(WorkerKey key) {
  const auto worker = std::make_shared<Worker>();
  worker->key = key;
  worker->slots.resize(plan_.processors);
  dispatch_->fill_boot(worker->boot);
  workers_[key] = worker;
  if (plan_.rough_start && chance(0.05)) {
    at(random_time(1000), [this, key] {
      if (!ended_.insert(key).second) violated("an incarnation has two ends");
      supervisor_.launch_failed(key, "no room", now_);
    });
    return;
  }
  at(random_time(5000), [this, worker] {
    worker->exists = true;
    worker->launched_at = now_ + random_time(1000);
    at(worker->launched_at - now_, [this, worker] { supervisor_.launched(worker->key, now_); });
    if (plan_.rough_start && chance(0.2)) {
      if (chance(0.5)) return;  // it hangs
      return at(random_time(3000), [this, worker] { die(worker, 3, {}); });
    }
    v1::ToCoordinator hello;
    hello.mutable_hello();
    send_up(worker, std::move(hello));
    if (plan_.shared) return;
    v1::ToCoordinator credit;
    credit.mutable_request()->set_jobs(std::max(1u, plan_.in_flight / plan_.workers));
    send_up(worker, std::move(credit));
  });
}

void Simulation::kill_somebody() {
  std::vector<WorkerPointer> victims;
  for (const auto& [key, worker] : workers_) {
    if (worker->exists && worker->alive) victims.push_back(worker);
  }
  if (!victims.empty()) die(victims[random_() % victims.size()], {}, SIGKILL);
}

void Simulation::die(const WorkerPointer& worker, std::optional<int> code,
                     std::optional<int> signal) {
  if (!worker->alive) return;
  worker->alive = false;
  for (const auto& slot : worker->slots) {
    if (slot) worker->page.running.push_back(*slot);
  }
  if (worker->source && chance(0.1)) worker->page.running.push_back(wire::kSourceJob);
  if (worker->reducing && chance(0.3)) worker->page.running.push_back(wire::kReduceJob);
  if (!code && chance(0.5)) {  // its last messages may not have left it
    for (std::size_t lost = random_() % (worker->undelivered.size() + 1); lost > 0; --lost) {
      *worker->undelivered[worker->undelivered.size() - lost] = true;
    }
  }
  // The news of the launch comes first; anything else this may overtake.
  const base::TimePoint told =
      std::max(now_ + random_time(1500), worker->launched_at + base::Duration(1));
  at(told - now_, [this, worker, code, signal] { take_exit(worker, code, signal); });
}

void Simulation::send_up(const WorkerPointer& worker, v1::ToCoordinator message) {
  const auto lost = std::make_shared<bool>(false);
  worker->undelivered.push_back(lost);
  worker->last_up = std::max(worker->last_up, now_ + random_time(chance(0.2) ? 5000 : 500));
  at(worker->last_up - now_, [this, worker, lost, owned = std::move(message)]() mutable {
    worker->undelivered.pop_front();
    if (!*lost) take_message(worker->key, std::move(owned));
  });
}

void Simulation::send_down(WorkerKey key, v1::ToWorker message) {
  const WorkerPointer worker = workers_.at(key);
  worker->last_down = std::max(worker->last_down, now_ + random_time(300));
  at(worker->last_down - now_, [this, worker, owned = std::move(message)]() mutable {
    if (worker->alive) worker_takes(worker, std::move(owned));
  });
}

void Simulation::take_message(WorkerKey key, v1::ToCoordinator&& message) {
  dispatch_->set_time(now_);
  if (message.has_hello()) {
    if (!supervisor_.hello(key, now_)) return;
    workers_.at(key)->welcome = true;
    return dispatch_->worker_ready(key);
  }
  if (!workers_.at(key)->welcome) return;
  if (!supervisor_.is_current(key)) {
    ++late_messages_;
    if (!ending_) dispatch_->late_message(key, std::move(message));
    return;
  }
  if (message.has_goodbye()) return supervisor_.goodbye(key);
  if (message.has_results() && !message.results().summary()) {
    for (const auto& entry : message.results().results()) errors_taken_ += entry.has_error();
  }
  if (const auto taken = dispatch_->message(key, std::move(message)); !taken) {
    violated(fmt::format("worker {}.{} {}", key.worker, key.incarnation, taken.error().text));
  }
}

void Simulation::take_exit(const WorkerPointer& worker, std::optional<int> code,
                           std::optional<int> signal) {
  const WorkerKey key = worker->key;
  if (!ended_.insert(key).second) violated("an incarnation has two ends");
  const wire::CrashSnapshot& page = worker->page;
  const bool fruitful = page.finished > 0 || !page.running.empty();
  const WorkerEnd end = supervisor_.exited(key, code, signal, fruitful, now_);
  if (end.is_crash) ++crashes_;
  if (ending_ || dispatch_->finished() || !worker->welcome)
    return dispatch_->count_fired(key, page);
  if (end.is_crash) {
    std::vector<std::uint64_t> blamed = page.running;
    if (page.has_fatal) blamed = {page.fatal.job};
    for (const std::uint64_t job : blamed) {
      if (job == wire::kSourceJob) ++source_deaths_;
      if (job == wire::kReduceJob) ++reduce_deaths_;
      if (job < plan_.jobs) ++deaths_[job];
    }
  }
  dispatch_->worker_lost(key, page, end.is_crash, end.reason);
}

void Simulation::check_end() {
  const Ledger& ledger = dispatch_->ledger();
  const LedgerCounts& counts = ledger.counts();
  std::uint64_t done = 0, failed = 0, quarantined = 0, starts = 0, begun = 0, sum = 0;
  for (std::uint64_t job = 0; job < ledger.size(); ++job) {
    const JobEntry& entry = ledger.at(job);
    if (job >= plan_.jobs) return violated(fmt::format("job {} never was", job));
    if (entry.blames > deaths_[job]) {
      violated(fmt::format("job {} has {} blames for {} deaths", job, entry.blames, deaths_[job]));
    }
    const bool doomed = plan_.is_poison(job) ||
                        std::any_of(plan_.faults.begin(), plan_.faults.end(), [&](const auto& f) {
                          return f.job == job && f.kind != v1::FAULT_THROW;
                        });
    if (entry.state == JobState::kDone) {
      ++done;
      sum += weight(job);
      if (plan_.is_poison(job) || plan_.throws.contains(job)) {
        violated(fmt::format("job {} can't have a result", job));
      }
    } else if (entry.state == JobState::kFailed) {
      ++failed;
      // A planned throw and a flaky one together may be enough.
      const bool planned =
          std::any_of(plan_.faults.begin(), plan_.faults.end(),
                      [&](const auto& f) { return f.job == job && f.kind == v1::FAULT_THROW; });
      if (!plan_.throws.contains(job) && !planned) {
        violated(fmt::format("job {} failed without cause", job));
      }
    } else if (entry.state == JobState::kQuarantined) {
      ++quarantined;
      if (entry.blames < plan_.max_attempts || (plan_.kills == 0 && !doomed)) {
        violated(fmt::format("job {} is in quarantine without guilt", job));
      }
    } else if (answered()) {
      violated(fmt::format("job {} is lost", job));
    }
    starts += starts_[job];
    begun += starts_[job] > 0;
  }
  if (done != counts.done || failed != counts.failed || quarantined != counts.quarantined) {
    violated("the counts are not those of the jobs");
  }
  for (const auto& [key, worker] : workers_) {
    if (!ended_.contains(key)) violated("an incarnation has no end");
  }
  for (std::size_t i = 0; i < fired_.size(); ++i) {
    if (dispatch_->fired()[i] != fired_[i] || fired_[i] > plan_.faults[i].times) {
      violated(fmt::format("fault {} fired {} times of {}, counted {}", i, fired_[i],
                           plan_.faults[i].times, dispatch_->fired()[i]));
    }
  }
  if (!answered()) {
    const bool pseudo =
        source_deaths_ >= plan_.max_attempts || reduce_deaths_ >= plan_.max_attempts;
    if (!supervisor_.all_given_up() && !pseudo) {
      violated("it ended without an answer: " + dispatch_->failure());
    }
    return;
  }
  if (ledger.size() != plan_.jobs) violated("jobs are missing");
  if (latencies_ != (plan_.rate > 0 ? counts.done : 0)) {
    violated(fmt::format("{} latencies of {} jobs that are done", latencies_, counts.done));
  }
  if (dispatch_->answer()->checksum() != std::to_string(sum)) violated("the answer is wrong");
  if (counts.retried != starts - begun) {
    violated(
        fmt::format("{} retried, but {} executions of {} jobs", counts.retried, starts, begun));
  }
  const std::uint64_t told =
      counts.done + errors_taken_ + counts.lost_in_flight + counts.results_lost;
  if (!plan_.shared && told != starts) {
    violated(fmt::format("{} executions, of which {} are accounted for", starts, told));
  }
}

}  // namespace bulkhead::coordinator
