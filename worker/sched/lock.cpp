#include <linux/membarrier.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/sched/biased_lock.hpp>
#include <bulkhead/sched/lock.hpp>
#include <cerrno>
#include <cstring>
#include <vector>

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

struct AllProcessors {
  base::Mutex mutex;
  std::vector<const ProcessorHead*> list BULKHEAD_GUARDED_BY(mutex);
};
AllProcessors& all_processors() {
  static AllProcessors all;
  return all;
}
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

void barrier_everywhere() {
  BULKHEAD_CHECK(membarrier(MEMBARRIER_CMD_PRIVATE_EXPEDITED) == 0, "membarrier: {}",
                 std::strerror(errno));
}

void add_processor(const ProcessorHead& processor) {
  const base::MutexLock guard(all_processors().mutex);
  all_processors().list.push_back(&processor);
}

void remove_processor(const ProcessorHead& processor) {
  const base::MutexLock guard(all_processors().mutex);
  std::erase(all_processors().list, &processor);
}

ProcessorHead* Bias::enter_slow(const ProcessorHead* processor, std::uint32_t& outer) {
  for (;;) {
    std::uintptr_t owner = owner_.load(std::memory_order_acquire);
    if (owner == kNobody) return nullptr;
    if (owner == kNew) {
      const bool mine = processor != nullptr && can_bias();
      owner_.compare_exchange_strong(owner, mine ? processor->home : kNobody,
                                     std::memory_order_acq_rel);
    } else if (processor != nullptr && owner == processor->home) {
      return enter(outer);
    } else if (processor != nullptr && owner == (processor->home | kLeaving)) {
      // We are not in a section of this one; then nobody of our scheduler is. But we may be in one
      // of another lock, whose end the one who takes it away waits for.
      owner_.compare_exchange_strong(owner, kNobody, std::memory_order_acq_rel);
    } else if ((owner & kLeaving) != 0) {
      ::sched_yield();
    } else if (owner_.compare_exchange_strong(owner, owner | kLeaving, std::memory_order_acq_rel)) {
      disown(owner);
    }
  }
}

// Only the one that has set kLeaving.
void Bias::disown(std::uintptr_t owner) {
  barrier_everywhere();
  std::uintptr_t leaving = owner | kLeaving;
  const base::MutexLock guard(all_processors().mutex);
  for (const ProcessorHead* processor : all_processors().list) {
    if (processor->home != owner) continue;
    // acquire pairs with the release in set_sections(): what was done in the section is done.
    while (processor->sections.load(std::memory_order_acquire) != 0 &&
           owner_.load(std::memory_order_acquire) == leaving)
      ::sched_yield();
  }
  owner_.compare_exchange_strong(leaving, kNobody, std::memory_order_acq_rel);
}

}  // namespace bulkhead::sched
