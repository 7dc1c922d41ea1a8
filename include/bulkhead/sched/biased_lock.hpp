// A Lock that costs no atomic instruction while only one thread takes it: the thread of a
// scheduler's only processor. For channels, whose two locked instructions an item would be most of
// their cost.
//
// The first such thread to take it owns it: it says "inside" and then looks whether it still is the
// owner. Whoever else wants the lock first takes the ownership away, for good: says so, makes each
// running thread pass a full fence (membarrier, 1 to 20 µs), then waits until the owner is not
// inside. Of the two stores and loads one sees the other, as in Dekker's algorithm; the fence that
// the owner would need is paid by the other. (Asymmetric fences: folly's, after Dice et al.,
// "Quickly reacquirable locks", 2003.)
//
// unlock() touches no memory of the lock after its last store, as with Lock.
#pragma once

#include <atomic>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstdint>

namespace bulkhead::sched {

// Where the kernel has no membarrier, or TSan watches, nobody ever owns one.
bool can_bias();

class BULKHEAD_CAPABILITY("lock") BiasedLock {
 public:
  BiasedLock() = default;
  BiasedLock(const BiasedLock&) = delete;
  BiasedLock& operator=(const BiasedLock&) = delete;

  void lock() BULKHEAD_ACQUIRE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    const ProcessorHead* const processor = this_processor();
    if (processor != nullptr && owner_.load(std::memory_order_relaxed) == processor) {
      inside_.store(true, std::memory_order_relaxed);
      // The compiler must not turn them round; the processor may: see above.
      std::atomic_signal_fence(std::memory_order_seq_cst);
      if (owner_.load(std::memory_order_relaxed) == processor) [[likely]]
        return;
      inside_.store(false, std::memory_order_release);
    }
    if (owner_.load(std::memory_order_acquire) == &kNobody) {  // pairs with disown()
      lock_.lock();
      lock_held_ = true;
    } else {
      lock_slow(processor);
    }
  }
  void unlock() BULKHEAD_RELEASE() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
    // Only whoever holds it the shared way sees true here.
    if (lock_held_) {
      lock_held_ = false;
      lock_.unlock();
    } else {
      inside_.store(false, std::memory_order_release);  // pairs with the acquire in disown()
    }
  }

 private:
  void lock_slow(const ProcessorHead* processor);
  void disown();

  static inline const ProcessorHead kNobody{}, kLeaving{};

  // nullptr: not yet; &kLeaving: it is being taken away; &kNobody: for good.
  std::atomic<const ProcessorHead*> owner_{nullptr};
  std::atomic<bool> inside_{false};  // its owner holds the lock
  bool lock_held_ = false;           // guarded by whichever way the lock is held
  Lock lock_;
};

class BULKHEAD_SCOPED_CAPABILITY BiasedLockGuard {
 public:
  explicit BiasedLockGuard(BiasedLock& lock) BULKHEAD_ACQUIRE(lock) : lock_(lock) { lock_.lock(); }
  ~BiasedLockGuard() BULKHEAD_RELEASE() { lock_.unlock(); }
  BiasedLockGuard(const BiasedLockGuard&) = delete;
  BiasedLockGuard& operator=(const BiasedLockGuard&) = delete;

 private:
  BiasedLock& lock_;
};

}  // namespace bulkhead::sched
