// The lock inside every primitive of this module: held for a few instructions, never across a
// switch by the one who took it.
//
// Why not base::Mutex: a goroutine takes the lock, puts itself on a waiter list and parks, and the
// lock is released by its processor only when the goroutine's context is saved. That is another
// context than the one that locked, which a pthread mutex does not allow (and TSan reports).
//
// One exchange to lock, a plain store to unlock: a lock with sleepers would need a second exchange.
// Whoever finds it held spins for a moment, then gives up the CPU, since the holder may have been
// preempted. unlock() touches no memory of the lock after its store, so whoever takes the lock next
// may destroy it.
#pragma once

#include <atomic>
#include <bulkhead/base/mutex.hpp>

namespace bulkhead::sched {

class BULKHEAD_CAPABILITY("lock") Lock {
 public:
  Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() BULKHEAD_ACQUIRE() {
    // acquire pairs with the release in unlock().
    if (held_.exchange(true, std::memory_order_acquire)) lock_slow();
  }
  void unlock() BULKHEAD_RELEASE() {
    // release pairs with the acquire in lock() and lock_slow().
    held_.store(false, std::memory_order_release);
  }
  // For whoever knows that no other thread can take it or give it up just now.
  bool held() const { return held_.load(std::memory_order_relaxed); }

 private:
  void lock_slow();

  std::atomic<bool> held_{false};
};

class BULKHEAD_SCOPED_CAPABILITY LockGuard {
 public:
  explicit LockGuard(Lock& lock) BULKHEAD_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~LockGuard() BULKHEAD_RELEASE() { lock_.unlock(); }
  LockGuard(const LockGuard&) = delete;
  LockGuard& operator=(const LockGuard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace bulkhead::sched
