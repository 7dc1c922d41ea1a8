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

  void lock(base::SourceSite site = base::SourceSite::current()) {
    interleave();
    if (!take()) lock_slow(site);
  }
  bool try_lock() {
    interleave();
    return take();
  }
  void unlock() {
    interleave();
    std::uint32_t outer = 0;
    ProcessorHead* const alone = bias_.enter(outer);
    std::uintptr_t state = state_.load(std::memory_order_relaxed);
    if (alone != nullptr) {
      const bool simple = may_just_unlock(state);
      if (simple) state_.store(state & (kWaiting | kWoken), std::memory_order_relaxed);
      Bias::leave(*alone, outer);
      if (!simple) unlock_slow();
      return;
    }
    do {
      if (!may_just_unlock(state)) return unlock_slow();
    } while (!state_.compare_exchange_weak(state, state & (kWaiting | kWoken),
                                           std::memory_order_release, std::memory_order_relaxed));
  }

 private:
  bool take() {
    std::uint32_t outer = 0;
    if (ProcessorHead* const alone = bias_.enter(outer)) {
      const std::uintptr_t found = state_.load(std::memory_order_relaxed);
      const bool free = (found & kLocked) == 0;
      if (free) state_.store(found | owner_word(), std::memory_order_relaxed);
      Bias::leave(*alone, outer);
      return free;
    }
    std::uintptr_t state = 0;
    // acquire pairs with the releases in unlock().
    while (!state_.compare_exchange_weak(state, state | owner_word(), std::memory_order_acquire,
                                         std::memory_order_relaxed))
      if ((state & kLocked) != 0) return false;
    return true;
  }

  // kWaiting: somebody is in `waiters_`. kWoken: somebody was taken from there, and is on the way.
  // Both are set and cleared under lock_. Above them, while it is locked: the address of the
  // goroutine that locked it, 0 for a plain thread; for reports, nothing else hangs on it.
  static constexpr std::uintptr_t kLocked = 1, kWaiting = 2, kWoken = 4;
  static std::uintptr_t owner_word() {
    static_assert(alignof(Task) > (kLocked | kWaiting | kWoken));
    return reinterpret_cast<std::uintptr_t>(current_task()) | kLocked;
  }

  // One that was woken will come anyway: no need to wake another. (It also keeps the mutex.)
  static bool may_just_unlock(std::uintptr_t state) {
    return (state & kLocked) != 0 && (state & (kWaiting | kWoken)) != kWaiting;
  }

  friend class MutexHolders;  // what reports see of it

  bool spin();
  void lock_slow(base::SourceSite site);
  void unlock_slow();

  Bias bias_;
  // In another cache line, so that who comes for it while others do fetches one for writing only.
  // Changed by one instruction, or in a section of bias_ by a load and a store: nobody else then.
  alignas(64) std::atomic<std::uintptr_t> state_{0};
  Lock lock_;
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
