// The lock inside every primitive of this module: held for a few instructions, never across a
// switch by the one who took it.
//
// Why not base::Mutex: a goroutine takes the lock, puts itself on a waiter list and parks, and the
// lock is released by its processor only when the goroutine's context is saved. That is another
// context than the one that locked, which a pthread mutex does not allow (and TSan reports).
//
// unlock() touches no memory of the lock after the store that releases it (the futex call passes
// the address only), so whoever takes the lock next may destroy it.
#pragma once

#include <atomic>
#include <bulkhead/base/mutex.hpp>
#include <cstdint>

namespace bulkhead::sched {

class BULKHEAD_CAPABILITY("lock") Lock {
 public:
  Lock() = default;
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

  void lock() BULKHEAD_ACQUIRE() {
    std::uint32_t expected = kFree;
    // acquire pairs with the release in unlock(); a failure publishes nothing.
    if (!state_.compare_exchange_strong(expected, kHeld, std::memory_order_acquire,
                                        std::memory_order_relaxed))
      lock_slow();
  }

  void unlock() BULKHEAD_RELEASE() {
    // release pairs with the acquire in lock() and lock_slow().
    if (state_.exchange(kFree, std::memory_order_release) == kContended) wake_one();
  }

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kContended = 2;

  void lock_slow();
  void wake_one();

  std::atomic<std::uint32_t> state_{kFree};
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
