// The workers' side of the simulation: what the wire contract has them do, in virtual time.
#include <algorithm>
#include <csignal>
#include <utility>

#include "simulation.hpp"

namespace bulkhead::coordinator {

void Simulation::worker_takes(const WorkerPointer& worker, v1::ToWorker&& message) {
  switch (message.body_case()) {
    case v1::ToWorker::kJobs:
      for (v1::Job& job : *message.mutable_jobs()->mutable_jobs()) {
        worker->queue.push_back(std::move(job));
      }
      start_jobs(worker);
      break;
    case v1::ToWorker::kOpenSource:
      worker->source = true;
      worker->source_next = message.open_source().from();
      worker->source_credit = message.open_source().credit();
      run_source(worker);
      break;
    case v1::ToWorker::kSourceCredit:
      worker->source_credit += message.source_credit().inputs();
      break;
    case v1::ToWorker::kOpenReduce: {
      worker->reducing = true;
      worker->reduce_next = 0;
      worker->sum = 0;
      worker->reduce_jobs = message.open_reduce().jobs();
      v1::ToCoordinator credit;
      credit.mutable_reduce_credit()->set_batches(4);
      send_up(worker, std::move(credit));
      if (worker->reduce_jobs == 0) answer_up(worker, 0, 0);
      break;
    }
    case v1::ToWorker::kReduceResults:
      for (const auto& entry : message.reduce_results().results()) {
        if (entry.index() != worker->reduce_next++) violated("results reach reduce out of order");
        if (entry.has_result()) worker->sum += std::stoull(entry.result());
      }
      if (message.reduce_results().end()) answer_up(worker, worker->sum, worker->reduce_jobs);
      break;
    case v1::ToWorker::kSafeResults: {
      for (const auto& entry : message.safe_results().results()) {
        worker->known[entry.index()] = entry.has_result();
      }
      v1::ToCoordinator received;
      received.mutable_safe_received();
      send_up(worker, std::move(received));
      break;
    }
    case v1::ToWorker::kBegin:
      if (open_loop_ &&
          message.begin().origin_nanoseconds() != open_loop_->origin().time_since_epoch().count()) {
        violated("an incarnation is told another origin");
      }
      begin_program(worker);
      break;
    case v1::ToWorker::kDrain:
      worker->draining = true;
      worker->queue.clear();
      say_goodbye_when_idle(worker);
      break;
    default:
      violated("a worker was sent what it can't understand");
  }
}

void Simulation::answer_up(const WorkerPointer& worker, std::uint64_t sum, std::uint64_t jobs) {
  at(random_time(2000), [this, worker, sum, jobs] {
    if (!worker->alive) return;
    if (plan_.shared) flush(worker, true);
    worker->reducing = false;
    v1::ToCoordinator message;
    message.mutable_answer()->set_checksum(std::to_string(sum));
    message.mutable_answer()->set_jobs(jobs);
    send_up(worker, std::move(message));
  });
}

// Inputs in batches of random length, as far as credit goes.
void Simulation::run_source(const WorkerPointer& worker) {
  at(random_time(1000), [this, worker] {
    if (!worker->alive || worker->draining) return;
    v1::ToCoordinator message;
    message.mutable_inputs()->set_first(worker->source_next);
    for (std::uint64_t left = random_() % 20;
         left > 0 && worker->source_credit > 0 && worker->source_next < plan_.jobs; --left) {
      --worker->source_credit;
      message.mutable_inputs()->add_inputs("input " + std::to_string(worker->source_next++));
    }
    const bool end = worker->source_next == plan_.jobs;
    message.mutable_inputs()->set_end(end);
    worker->source = !end;
    send_up(worker, std::move(message));
    if (!end) run_source(worker);
  });
}

// Shared: the whole program. Suspects come last.
void Simulation::begin_program(const WorkerPointer& worker) {
  const auto contains = [](const auto& jobs, std::uint64_t job) {
    return std::find(jobs.begin(), jobs.end(), job) != jobs.end();
  };
  for (std::uint64_t index = 0; index < plan_.jobs; ++index) {
    if (worker->known.contains(index) || contains(worker->boot.quarantined_jobs(), index)) continue;
    v1::Job job;
    job.set_index(index);
    (contains(worker->boot.solo_jobs(), index) ? worker->solo : worker->queue).push_back(job);
  }
  checkpoint_later(worker);
  start_jobs(worker);
}

void Simulation::checkpoint_later(const WorkerPointer& worker) {
  at(random_time(30'000), [this, worker] {
    if (!worker->alive || worker->answered || worker->draining) return;
    flush(worker);
    checkpoint_later(worker);
  });
}

void Simulation::start_jobs(const WorkerPointer& worker) {
  for (std::size_t slot = 0; slot < worker->slots.size() && !worker->draining; ++slot) {
    if (worker->slots[slot]) continue;
    if (worker->queue.empty()) {
      if (!plan_.shared || !worker->idle()) return;
      if (worker->solo.empty()) {
        if (worker->answered) return;
        worker->answered = true;
        worker->reducing = true;
        std::uint64_t sum = 0;
        for (const auto& [job, has_result] : worker->known) sum += has_result ? weight(job) : 0;
        return answer_up(worker, sum, plan_.jobs);
      }
      flush(worker);  // everything else is safe before a suspect runs
      worker->queue.push_back(std::move(worker->solo.front()));
      worker->solo.pop_front();
    }
    if (plan_.shared && open_loop_ && open_loop_->due(worker->queue.front().index()) > now_) {
      if (std::exchange(worker->paced, true)) return;
      return at(open_loop_->due(worker->queue.front().index()) - now_, [this, worker] {
        worker->paced = false;
        if (worker->alive) start_jobs(worker);
      });
    }
    v1::Job job = std::move(worker->queue.front());
    worker->queue.pop_front();
    worker->slots[slot] = job.index();
    start_attempt(worker, slot, std::move(job), 0);
  }
}

void Simulation::start_attempt(const WorkerPointer& worker, std::size_t slot, v1::Job job,
                               std::uint32_t failures) {
  if (open_loop_ && now_ < open_loop_->due(job.index())) violated("a job starts before it is due");
  ++worker->page.started;
  ++starts_[job.index()];
  if (plan_.shared) {  // its faults came with the boot message
    job.clear_fault();
    for (v1::PlannedFault& fault : *worker->boot.mutable_faults()) {
      if (fault.job() != job.index() || fault.times() == 0 || job.has_fault()) continue;
      fault.set_times(fault.times() - 1);
      *job.mutable_fault() = fault;
    }
  }
  at(random_time(10'000), [this, worker, slot, owned = std::move(job), failures]() mutable {
    if (worker->alive) end_attempt(worker, slot, std::move(owned), failures);
  });
}

void Simulation::end_attempt(const WorkerPointer& worker, std::size_t slot, v1::Job job,
                             std::uint32_t failures) {
  const std::uint64_t index = job.index();
  bool segv = plan_.segv.contains(index);
  bool kill = plan_.kill.contains(index);
  bool error = plan_.throws.contains(index) || (plan_.flaky.contains(index) && starts_[index] == 1);
  if (job.has_fault()) {
    ++fired_[job.fault().index()];
    ++worker->page.fired[job.fault().index()];
    segv = job.fault().kind() == v1::FAULT_SEGV;
    kill = job.fault().kind() == v1::FAULT_KILL;
    error = job.fault().kind() == v1::FAULT_THROW;
  }
  if (segv || kill) {
    worker->page.has_fatal = segv;
    worker->page.fatal.job = index;
    return die(worker, {}, segv ? SIGSEGV : SIGKILL);
  }
  ++worker->page.finished;
  failures += error ? 1 : 0;
  if (plan_.shared && error && failures < plan_.max_attempts) {
    return start_attempt(worker, slot, std::move(job), failures);
  }
  v1::JobResult result;
  result.set_index(index);
  result.set_failures(plan_.shared ? failures : 0);
  if (open_loop_) result.set_latency_seconds(base::to_seconds(now_ - open_loop_->due(index)));
  if (error) {
    result.set_error("it threw");
  } else {
    result.set_result(std::to_string(weight(index)));
  }
  worker->known[index] = !error;
  worker->ended.push_back(std::move(result));
  if (!plan_.shared) {
    at(random_time(1000), [this, worker] {
      if (worker->alive) flush(worker);
    });
  }
  // The page shows a job a little longer than it runs.
  at(random_time(1000), [this, worker, slot] {
    if (!worker->alive) return;
    worker->slots[slot].reset();
    start_jobs(worker);
    if (worker->draining) say_goodbye_when_idle(worker);
  });
}

// What has ended goes up: with its bytes, or as a summary before the answer.
void Simulation::flush(const WorkerPointer& worker, bool summary) {
  if (worker->ended.empty()) return;
  v1::ToCoordinator message;
  message.mutable_results()->set_summary(summary);
  if (!plan_.shared) {
    message.mutable_results()->set_request(static_cast<std::uint32_t>(worker->ended.size()));
  }
  for (v1::JobResult& result : worker->ended) {
    if (summary && result.has_result()) result.clear_result();
    *message.mutable_results()->add_results() = std::move(result);
  }
  worker->ended.clear();
  send_up(worker, std::move(message));
}

void Simulation::say_goodbye_when_idle(const WorkerPointer& worker) {
  if (!worker->idle()) return;
  flush(worker);
  v1::ToCoordinator goodbye;
  goodbye.mutable_goodbye();
  send_up(worker, std::move(goodbye));
  // The coordinator has taken it before it lets the worker go.
  at(worker->last_up - now_ + random_time(500), [this, worker] { die(worker, 0, {}); });
}

}  // namespace bulkhead::coordinator
