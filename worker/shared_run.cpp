#include "shared_run.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/fault_draw.hpp>
#include <exception>
#include <utility>

#include "crash_handler.hpp"

namespace bulkhead::worker {

SharedRun::SharedRun(const v1::Boot& boot, const program::ErasedJobs& program,
                     wire::CrashPage* page, Link& link)
    : boot_(boot),
      program_(program),
      link_(link),
      runner_(boot, program, page),
      solo_(boot.solo_jobs().begin(), boot.solo_jobs().end()),
      quarantined_(boot.quarantined_jobs().begin(), boot.quarantined_jobs().end()),
      faults_(boot.faults().begin(), boot.faults().end()),
      in_flight_(boot.in_flight()) {}

void SharedRun::on_message(v1::ToWorker&& message) {
  switch (message.body_case()) {
    case v1::ToWorker::kSafeResults: {
      {
        base::MutexLock lock(mutex_);
        for (auto& entry : *message.mutable_safe_results()->mutable_results()) {
          Record& target = record(entry.index());
          target.finished = true;
          target.is_safe = true;
          target.failures = entry.failures();
          if (entry.has_error()) {
            target.error = std::move(*entry.mutable_error());
          } else {
            target.safe = std::move(*entry.mutable_result());
          }
        }
      }
      v1::ToCoordinator received;
      received.mutable_safe_received();
      link_.send(std::move(received));
      break;
    }
    case v1::ToWorker::kBegin:
      if (boot_.rate_per_second() > 0) {
        open_loop_.emplace(boot_.rate_per_second(),
                           base::TimePoint(base::Duration(message.begin().origin_nanoseconds())));
      }
      begin_.try_send(0);
      break;
    case v1::ToWorker::kInject:
      runner_.arm(message.inject().fault());
      break;
    case v1::ToWorker::kDrain:
      draining_.store(true);
      break;
    default:
      break;
  }
}

bool SharedRun::quiescent() {
  if (running_.load() != 0) return false;
  checkpoint();  // interrupted: what is finished becomes safe; after the answer nothing is left
  return true;
}

SharedRun::Record& SharedRun::record(std::uint64_t index) {
  if (records_.size() <= index) records_.resize(index + 1);
  if (!records_[index]) records_[index] = std::make_unique<Record>();
  return *records_[index];
}

void SharedRun::main() {
  const sched::ExternalWait external;
  begin_.receive();
  if (boot_.checkpoint_seconds() >= 0) {
    // Detached: it lives until the process ends, and so does everything it touches.
    std::thread([this] {
      prepare_thread_for_crashes();
      const auto period = std::chrono::duration<double>(boot_.checkpoint_seconds());
      for (;;) {
        std::this_thread::sleep_for(period);
        checkpoint();
      }
    }).detach();
  }
  sched::go([this] { run_source(); }, wire::kSourceJob);
  never_.receive();
}

void SharedRun::run_source() {
  try {
    program_.source(0, [&](program::Value input) {
      if (draining_.load(std::memory_order_relaxed)) return false;
      const std::uint64_t index = total_++;
      bool skip = quarantined_.contains(index);
      {
        base::MutexLock lock(mutex_);
        skip = record(index).finished || skip;
      }
      if (skip) return true;
      if (solo_.contains(index)) {
        solo_inputs_[index] = std::move(input);
      } else {
        start_job(index, std::move(input));
      }
      return true;
    });
  } catch (const std::exception& error) {
    return link_.send_pseudo_failed(false, error.what());
  } catch (...) {
    return link_.send_pseudo_failed(false, "an exception that is not a std::exception");
  }
  // From here on it is no fault of the source when somebody crashes.
  sched::go([this] { run_rest(); }, sched::kNoTag);
}

void SharedRun::run_rest() {
  try {
    await_jobs();
    run_solo_jobs();
    if (!draining_.load(std::memory_order_relaxed)) reduce();
  } catch (const std::exception& error) {
    link_.send_pseudo_failed(true, error.what());
  } catch (...) {
    link_.send_pseudo_failed(true, "an exception that is not a std::exception");
  }
}

void SharedRun::start_job(std::uint64_t index, program::Value input) {
  await_due(index);
  in_flight_.send(0);  // blocks while the limit is reached
  // Shared, because std::function wants to copy.
  auto owned = std::make_shared<program::Value>(std::move(input));
  sched::go(
      [this, index, owned] {
        run_job(index, *owned);
        in_flight_.receive();
      },
      index);
}

// Late ones start at once, and their latency counts from when they were due all the same.
void SharedRun::await_due(std::uint64_t index) const {
  if (!open_loop_) return;
  const base::TimePoint due = open_loop_->due(index);
  for (;;) {
    const base::Duration left = due - base::Clock::now();
    if (left <= base::Duration::zero()) return;
    sched::sleep_for(left);
  }
}

// With every in-flight place taken, every job that was started has ended.
void SharedRun::await_jobs() {
  for (std::uint32_t i = 0; i < boot_.in_flight(); ++i) in_flight_.send(0);
  for (std::uint32_t i = 0; i < boot_.in_flight(); ++i) in_flight_.receive();
}

// Suspects run one by one with nothing else at risk: everything else is safe first.
void SharedRun::run_solo_jobs() {
  if (solo_inputs_.empty()) return;
  checkpoint();
  for (auto& [index, input] : solo_inputs_) {
    if (draining_.load(std::memory_order_relaxed)) return;
    start_job(index, std::move(input));
    await_jobs();
    checkpoint();
  }
}

void SharedRun::run_job(std::uint64_t index, const program::Value& input) {
  // Both seq_cst: either the drain sees this job running, or the job sees the drain.
  running_.fetch_add(1);
  if (draining_.load()) {
    running_.fetch_sub(1);
    link_.wake();
    return;
  }
  Record done;
  for (;;) {
    v1::PlannedFault storage;
    Attempt attempt = runner_.run(input, take_fault(index, storage));
    done.service_seconds = attempt.service_seconds;
    if (attempt.value) {
      done.value = std::move(*attempt.value);
      break;
    }
    if (++done.failures >= boot_.max_attempts()) {
      done.error = std::move(attempt.error);
      break;
    }
    sched::yield();
  }
  finish(index, std::move(done));
  running_.fetch_sub(1);
  if (draining_.load()) link_.wake();
}

void SharedRun::finish(std::uint64_t index, Record done) {
  base::MutexLock lock(mutex_);
  if (open_loop_) {
    done.latency_seconds = base::to_seconds(base::Clock::now() - open_loop_->due(index));
  }
  done.finished = true;
  record(index) = std::move(done);
  unsafe_.push_back(index);
}

const v1::PlannedFault* SharedRun::take_fault(std::uint64_t job, v1::PlannedFault& storage) {
  base::MutexLock lock(mutex_);
  for (auto& fault : faults_) {
    if (fault.rate() > 0) {
      const auto& spent = fault.spent();
      if (!wire::draws_fault(boot_.seed(), fault.index(), job, fault.rate()) ||
          std::find(spent.begin(), spent.end(), job) != spent.end()) {
        continue;
      }
      storage = fault;
      fault.add_spent(job);
      return &storage;
    }
    if (fault.job() != job || fault.times() == 0) continue;
    fault.set_times(fault.times() - 1);
    storage = fault;
    return &storage;
  }
  return nullptr;
}

// A finished record never changes until reduce is over, so it is encoded outside the lock.
void SharedRun::checkpoint() {
  base::MutexLock one_at_a_time(checkpoint_mutex_);
  std::vector<std::pair<std::uint64_t, Record*>> finished;
  {
    base::MutexLock lock(mutex_);
    finished.reserve(unsafe_.size());
    for (const std::uint64_t index : unsafe_) finished.emplace_back(index, records_[index].get());
    unsafe_.clear();
  }
  for (const auto& [index, source] : finished) {
    v1::JobResult result;
    result.set_index(index);
    result.set_service_seconds(source->service_seconds);
    result.set_latency_seconds(source->latency_seconds);
    result.set_failures(source->failures);
    if (source->error.empty()) {
      result.set_result(program_.encode_result(source->value));
      if (result.result().size() > link_.most_value_bytes()) {
        // It can't be kept safe. Nothing has to cross for this model to go on with it: it stays at
        // risk, and a crash means doing it again.
        base::MutexLock lock(mutex_);
        too_large_.push_back(index);
        continue;
      }
    } else {
      result.set_error(source->error);
    }
    link_.send_result(std::move(result));
  }
}

// Finished, but reduced before any checkpoint took it, or none could: counts and times only.
void SharedRun::send_summary() {
  base::MutexLock one_at_a_time(checkpoint_mutex_);
  constexpr int kEntries = 4096;
  base::MutexLock lock(mutex_);
  v1::ToCoordinator message;
  unsafe_.insert(unsafe_.end(), too_large_.begin(), too_large_.end());
  too_large_.clear();
  for (const std::uint64_t index : unsafe_) {
    auto* batch = message.mutable_results();
    batch->set_summary(true);
    v1::JobResult* result = batch->add_results();
    const Record& source = *records_[index];
    result->set_index(index);
    result->set_service_seconds(source.service_seconds);
    result->set_latency_seconds(source.latency_seconds);
    result->set_failures(source.failures);
    if (!source.error.empty()) result->set_error(source.error);
    if (batch->results_size() == kEntries) link_.send(std::exchange(message, {}));
  }
  if (message.has_results()) link_.send(std::move(message));
  unsafe_.clear();
}

void SharedRun::reduce() {
  sched::go(
      [this] {
        try {
          const auto reducer = program_.reducer();
          for (std::uint64_t index = 0; index < total_; ++index) {
            Record* source = nullptr;
            {
              base::MutexLock lock(mutex_);
              source = &record(index);
            }
            if (!source->finished || !source->error.empty()) {
              reducer->add(index, nullptr);
            } else if (source->value) {
              reducer->add(index, &source->value);
            } else {
              auto value = program_.decode_result(source->safe);
              if (!value) {
                return link_.send_pseudo_failed(
                    true, fmt::format("the result of job {} can't be decoded: {}", index,
                                      value.error().text));
              }
              reducer->add(index, &*value);
            }
          }
          program::Answer answer = reducer->finish();
          send_summary();
          v1::ToCoordinator message;
          message.mutable_answer()->set_checksum(std::move(answer.checksum));
          message.mutable_answer()->set_text(std::move(answer.text));
          message.mutable_answer()->set_jobs(total_);
          link_.send(std::move(message));
        } catch (const std::exception& error) {
          link_.send_pseudo_failed(true, error.what());
        } catch (...) {
          link_.send_pseudo_failed(true, "an exception that is not a std::exception");
        }
      },
      wire::kReduceJob);
}

}  // namespace bulkhead::worker
