#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/biased_lock.hpp>
#include <bulkhead/sched/lock.hpp>
#include <cerrno>
#include <cstring>

#include "sched/pause.hpp"
#include "sched/sanitizer.hpp"

namespace bulkhead::sched {
namespace {
// Critical sections are some tens of instructions, but fetching what they work on from the other
// core costs more than all of them. So whoever comes second stays away for long enough that the
// holder can come back several times.
constexpr int kFirstPauses = 16;
constexpr int kMostPauses = 64;
// From here on the holder is not merely behind us on this CPU: it was stopped, or is starved.
constexpr int kYields = 50;
constexpr long kLongestSleep = 1'000'000;  // nanoseconds

long membarrier(int command) { return ::syscall(SYS_membarrier, command, 0, 0); }

bool register_for_barriers() {
#if defined(BULKHEAD_TSAN)
  return false;
#else
  return membarrier(MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED) == 0;
#endif
}

// When the process starts, and inherited over fork(): as long as there is one thread it takes a
// microsecond; later the kernel waits for a grace period of RCU, 10 to 15 ms.
const bool kRegistered = register_for_barriers();
}  // namespace

void Lock::lock_slow() {
  long sleep = 50'000;
  for (int round = 0;; ++round) {
    for (int pauses = kFirstPauses; pauses <= kMostPauses; pauses *= 2) {
      for (int i = 0; i < pauses; ++i) pause_cpu();
      // acquire pairs with the release in unlock(); the look before it spares the cache line.
      if (!held_.load(std::memory_order_relaxed) &&
          !held_.exchange(true, std::memory_order_acquire))
        return;
    }
    if (round < kYields) {
      ::sched_yield();
      continue;
    }
    const timespec duration{.tv_sec = 0, .tv_nsec = sleep};
    // Returns its error, EINTR mostly: errno is the caller's.
    ::clock_nanosleep(CLOCK_MONOTONIC, 0, &duration, nullptr);
    sleep = std::min(2 * sleep, kLongestSleep);
  }
}

bool can_bias() { return kRegistered; }

void BiasedLock::lock_slow(const ProcessorHead* processor) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  for (;;) {
    const ProcessorHead* owner = owner_.load(std::memory_order_acquire);
    if (owner == &kNobody) break;
    if (owner == nullptr) {
      const bool mine = processor != nullptr && processor->alone && can_bias();
      // acq_rel: whoever owned it the same way before has left, or it is new.
      if (owner_.compare_exchange_strong(owner, mine ? processor : &kNobody,
                                         std::memory_order_acq_rel) &&
          mine)
        return lock();
    } else if (owner == processor) {
      return lock();
    } else if (owner == &kLeaving) {
      ::sched_yield();
    } else if (owner_.compare_exchange_strong(owner, &kLeaving, std::memory_order_acq_rel)) {
      disown();
    }
  }
  lock_.lock();
  lock_held_ = true;
}

// Only the one that has set kLeaving.
void BiasedLock::disown() {
  BULKHEAD_CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "membarrier: {}",
                 std::strerror(errno));
  // acquire pairs with the release in unlock(): what the owner did is done.
  while (inside_.load(std::memory_order_acquire)) ::sched_yield();
  owner_.store(&kNobody, std::memory_order_release);
}

}  // namespace bulkhead::sched
