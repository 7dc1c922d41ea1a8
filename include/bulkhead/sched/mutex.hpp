// A mutex that blocks the goroutine, not its processor; from a plain thread it blocks the thread.
// It may be held across a switch, and unlocked on another thread than the one that locked it.
//
// Fairness: waiters are woken in order, but a newcomer may take a free mutex before the woken one
// arrives (handing over each time costs a switch for each unlock). Whoever has waited for a
// millisecond is handed the mutex, so nobody starves.
//
// Not annotated for clang's analysis, which does not see through std::lock_guard, its usual holder.
#pragma once

#include <bulkhead/sched/waiter.hpp>

namespace bulkhead::sched {

class Mutex {
 public:
  Mutex() = default;
  ~Mutex();  // unlocked
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock();
  bool try_lock();
  void unlock();

 private:
  Lock lock_;
  bool locked_ BULKHEAD_GUARDED_BY(lock_) = false;
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
