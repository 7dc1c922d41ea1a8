#include <sched.h>
#include <time.h>

#include <algorithm>
#include <bulkhead/sched/lock.hpp>

#include "sched/pause.hpp"

namespace bulkhead::sched {
namespace {
// Critical sections are some tens of instructions.
constexpr int kSpins = 100;
// From here on the holder is not merely behind us on this CPU: it was stopped, or is starved.
constexpr int kYields = 50;
constexpr long kLongestSleep = 1'000'000;  // nanoseconds
}  // namespace

void Lock::lock_slow() {
  long sleep = 50'000;
  for (int round = 0;; ++round) {
    for (int i = 0; i < kSpins; ++i) {
      // acquire pairs with the release in unlock(); the look before it spares the cache line.
      if (!held_.load(std::memory_order_relaxed) &&
          !held_.exchange(true, std::memory_order_acquire))
        return;
      pause_cpu();
    }
    if (round < kYields) {
      ::sched_yield();
      continue;
    }
    const timespec duration{.tv_sec = 0, .tv_nsec = sleep};
    ::nanosleep(&duration, nullptr);
    sleep = std::min(2 * sleep, kLongestSleep);
  }
}

}  // namespace bulkhead::sched
