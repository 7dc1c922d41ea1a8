#include "job_runner.hpp"

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <exception>
#include <functional>

#include "crash_handler.hpp"

namespace bulkhead::worker {

void SlotObserver::on_switch(unsigned processor, sched::Tag tag) {
  static_assert(sched::kNoTag == wire::kNoJob);
  if (processor >= wire::kMaxSlots) return;  // one lent where there are hundreds of others
  wire::CrashSlot& slot = page_->slot[processor];
  // Relaxed: read by the crash handler on this very thread, and by others only after our death.
  slot.job.store(tag, std::memory_order_relaxed);
  slot.checkpoints.store(slot.checkpoints.load(std::memory_order_relaxed) + 1,
                         std::memory_order_relaxed);
}

void SlotObserver::on_processor_start(unsigned processor) {
  prepare_thread_for_crashes();
  set_thread_slot(processor < wire::kMaxSlots ? static_cast<int>(processor) : -1);
}

// relaxed: read after our death.
void SlotObserver::on_loan_end(base::Duration lent) {
  page_->lent_ns.fetch_add(lent.count(), std::memory_order_relaxed);
}

void SlotObserver::on_alone_end(base::Duration alone) {
  page_->alone_ns.fetch_add(alone.count(), std::memory_order_relaxed);
}

// Without a slot: what crashes there is blamed by the tag that it carries.
void SlotObserver::on_helper_start() { prepare_thread_for_crashes(); }

JobRunner::JobRunner(const v1::Boot& boot, const program::ErasedJobs& program,
                     wire::CrashPage* page)
    : program_(program), page_(page), striker_(boot, page) {
  if (boot.job_timeout_seconds() > 0) {
    clock_.emplace(page, std::chrono::duration_cast<base::Duration>(
                             std::chrono::duration<double>(boot.job_timeout_seconds())));
  }
}

wire::CrashSlot& JobRunner::own_slot() {
  const int slot = thread_slot();
  BULKHEAD_CHECK(slot >= 0 && static_cast<std::size_t>(slot) < wire::kMaxSlots,
                 "a job runs on a thread without a slot ({})", slot);
  return page_->slot[static_cast<std::size_t>(slot)];
}

Attempt JobRunner::run(const program::Value& input, const v1::PlannedFault* fault) {
  const base::TimePoint begin = base::Clock::now();
  own_slot().started.fetch_add(1, std::memory_order_relaxed);  // no switch between the two
  started_.fetch_add(1, std::memory_order_relaxed);
  Attempt attempt;
  std::optional<JobClock::Attempt> timed;
  if (clock_) timed.emplace(*clock_, sched::current_tag());
  try {
    std::function<void()> strike;
    if (fault != nullptr || striker_.is_armed()) {
      strike = [this, fault] { striker_.suffer(fault); };
    }
    attempt.value = program_.work(input, strike);
  } catch (const std::exception& error) {
    attempt.error = error.what();
    if (attempt.error.empty()) attempt.error = "an exception with an empty text";
  } catch (...) {
    attempt.error = "an exception that is not a std::exception";
  }
  const double seconds = base::to_seconds(base::Clock::now() - begin);
  attempt.service_seconds = seconds;
  // Several processors may overwrite each other's update: it is a hint.
  const double recent = recent_.load(std::memory_order_relaxed);
  recent_.store(recent == 0 ? seconds : recent * 0.9 + seconds * 0.1, std::memory_order_relaxed);
  // Before the result can be seen anywhere, so that finished >= received holds at the coordinator.
  // The goroutine may have moved since it started: the sums over slots are what counts.
  own_slot().finished.fetch_add(1, std::memory_order_relaxed);
  finished_.fetch_add(1, std::memory_order_relaxed);
  return attempt;
}

}  // namespace bulkhead::worker
