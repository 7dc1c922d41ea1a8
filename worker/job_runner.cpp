#include "job_runner.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>

#include "crash_handler.hpp"

namespace bulkhead::worker {
namespace {

// A real write to address 0. Sanitizers would report it and exit instead of letting it crash.
__attribute__((noinline, no_sanitize("undefined", "address", "thread"))) void write_to_null() {
  volatile int* volatile nowhere = nullptr;
  *nowhere = 1;
}

// Calls itself until the stack has no room left; each call keeps a part of a page of it.
__attribute__((noinline)) std::uint64_t fall(std::uint64_t depth) {
  volatile char page[1024];
  page[depth % sizeof page] = static_cast<char>(depth);
  return depth == 0 ? 0 : fall(depth + 1) + static_cast<unsigned char>(page[0]);
}

}  // namespace

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
    : program_(program), page_(page), memory_limit_(boot.memory_limit_bytes()) {
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
    if (fault != nullptr || armed_.load(std::memory_order_relaxed)) {
      strike = [this, fault] { suffer(fault); };
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

void JobRunner::suffer(const v1::PlannedFault* fault) {
  if (fault != nullptr) fire(*fault);
  std::optional<v1::PlannedFault> armed;
  {
    base::MutexLock lock(mutex_);
    armed.swap(armed_fault_);
    armed_.store(false, std::memory_order_relaxed);
  }
  if (armed) fire(*armed);
}

// Relaxed: read after our death, or as a hint.
void JobRunner::note_fired(const v1::PlannedFault& fault) {
  BULKHEAD_CHECK(fault.index() < wire::kMaxFaults, "fault {}", fault.index());
  if (fault.rate() > 0) {
    const std::uint32_t place = page_->fired_jobs_count.fetch_add(1, std::memory_order_relaxed);
    if (place < wire::kMaxFired) {
      const std::uint64_t entry = (std::uint64_t{fault.index()} << 56) | (sched::current_tag() + 1);
      page_->fired_jobs[place].store(entry, std::memory_order_relaxed);
    }
  }
  page_->fired[fault.index()].fetch_add(1, std::memory_order_relaxed);
}

// Never against the machine: it stops at twice the limit and 64 MiB, which a limit that works
// forestalls.
void JobRunner::exhaust_memory() const {
  constexpr std::size_t kStep = 4u << 20;
  for (std::uint64_t taken = 0; taken < 2 * memory_limit_ + (64u << 20); taken += kStep) {
    void* const memory =
        mmap(nullptr, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    std::memset(memory, 0x5a, kStep);
  }
}

void JobRunner::arm(const v1::PlannedFault& fault) {
  base::MutexLock lock(mutex_);
  armed_fault_ = fault;
  armed_.store(true, std::memory_order_relaxed);
}

void JobRunner::fire(const v1::PlannedFault& fault) {
  note_fired(fault);
  if (fault.kind() != v1::FAULT_THROW) {
    page_->fault_stamp_ns.store(base::monotonic_ns(), std::memory_order_relaxed);
  }
  switch (fault.kind()) {
    case v1::FAULT_SEGV:
      write_to_null();
      break;
    case v1::FAULT_KILL:
      kill(getpid(), SIGKILL);
      for (;;) pause();
    case v1::FAULT_THROW:
      throw std::runtime_error("injected fault: throw");
    case v1::FAULT_ABORT:
      std::abort();
    case v1::FAULT_EXIT:
      std::exit(0);
    case v1::FAULT_HANG:
      for (;;) pause();
    case v1::FAULT_STACK_OVERFLOW:
      recent_.store(static_cast<double>(fall(1)), std::memory_order_relaxed);
      break;
    case v1::FAULT_OOM:
      exhaust_memory();
      for (;;) pause();  // whoever holds us to the limit is late
    default:
      break;
  }
  BULKHEAD_CHECK(false, "a fault of kind {} did not end the process",
                 static_cast<int>(fault.kind()));
}

}  // namespace bulkhead::worker
