// A condition variable for Mutex. As in Go: waiters are woken in the order in which they began to
// wait, each signal() wakes one that began before it, and there are no spurious wake-ups. A
// newcomer may still take the mutex before the woken one has it again, so look at the condition in
// a loop, or let wait() do it:
//
//   std::unique_lock lock(mutex);
//   cond.wait(lock, [&] { return !queue.empty(); });
//
// signal() and broadcast() may be called with or without the mutex.
#pragma once

#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <mutex>

namespace bulkhead::sched {

class Cond {
 public:
  Cond() = default;
  ~Cond();  // nobody may wait
  Cond(const Cond&) = delete;
  Cond& operator=(const Cond&) = delete;

  // Unlocks, waits, and locks again. `lock` must own its mutex, and all who wait at a time must
  // come with the same one.
  void wait(std::unique_lock<Mutex>& lock, base::SourceSite site = base::SourceSite::current());
  template <std::predicate Predicate>
  void wait(std::unique_lock<Mutex>& lock, Predicate predicate,
            base::SourceSite site = base::SourceSite::current()) {
    while (!predicate()) wait(lock, site);
  }

  void signal();     // wakes the one that waits longest, if any
  void broadcast();  // wakes all

 private:
  struct Entry;

  Lock lock_;
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
  const Mutex* mutex_ BULKHEAD_GUARDED_BY(lock_) = nullptr;  // of those in waiters_
};

}  // namespace bulkhead::sched
