// A mutex that blocks the goroutine, not its processor; from a plain thread it blocks the thread.
// It may be held across a switch, and unlocked on another thread than the one that locked it.
//
// Fairness: waiters are woken in order, but a newcomer may take a free mutex before the woken one
// arrives (handing over each time costs a switch for each unlock). Whoever has waited for a
// millisecond is handed the mutex, so nobody starves.
//
// Not annotated for clang's analysis, which does not see through std::lock_guard, its usual holder.
#pragma once

#include <atomic>
#include <bulkhead/sched/waiter.hpp>
#include <cstdint>

namespace bulkhead::sched {

class Mutex {
 public:
  Mutex() = default;
  ~Mutex();  // unlocked
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock() {
    if (!try_lock()) lock_slow();
  }
  bool try_lock() {
    std::uint32_t free = 0;
    // acquire pairs with the releases in unlock().
    return state_.compare_exchange_strong(free, kLocked, std::memory_order_acquire,
                                          std::memory_order_relaxed);
  }
  void unlock() {
    std::uint32_t locked = kLocked;
    if (!state_.compare_exchange_strong(locked, 0, std::memory_order_release,
                                        std::memory_order_relaxed))
      unlock_slow();
  }

 private:
  // Somebody is in `waiters_`. Set and cleared under lock_.
  static constexpr std::uint32_t kLocked = 1, kWaiting = 2;

  void lock_slow();
  void unlock_slow();

  std::atomic<std::uint32_t> state_{0};
  Lock lock_;
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
