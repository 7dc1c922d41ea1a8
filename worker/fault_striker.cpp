#include "fault_striker.hpp"

#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdlib>
#include <cstring>
#include <stdexcept>

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

void FaultStriker::suffer(const v1::PlannedFault* fault) {
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
void FaultStriker::note_fired(const v1::PlannedFault& fault) {
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
void FaultStriker::exhaust_memory() const {
  constexpr std::size_t kStep = 4u << 20;
  for (std::uint64_t taken = 0; taken < 2 * memory_limit_ + (64u << 20); taken += kStep) {
    void* const memory =
        mmap(nullptr, kStep, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return;
    std::memset(memory, 0x5a, kStep);
  }
}

void FaultStriker::arm(const v1::PlannedFault& fault) {
  base::MutexLock lock(mutex_);
  armed_fault_ = fault;
  armed_.store(true, std::memory_order_relaxed);
}

void FaultStriker::fire(const v1::PlannedFault& fault) {
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
      static_cast<void>(fall(1));
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
