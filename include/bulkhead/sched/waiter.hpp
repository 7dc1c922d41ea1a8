// The parking seam: how a primitive blocks its caller, whether that is a goroutine or a plain OS
// thread. Channel, WaitGroup and Mutex are built on it; nothing else of them knows the difference.
//
//   lock_.lock();
//   if (ready) { lock_.unlock(); return; }
//   Waiter waiter;                                // who calls
//   waiters_.push_back(waiter);
//   waiter.park(lock_, {ParkReason::kWaitGroup, this, site});  // releases lock_, once the caller
//                                                              // can be woken
//
// The waker takes the waiter off the list under the same lock, releases the lock, then calls
// wake() once. From that call on the waiter may be gone: read its link before.
//
// Who waits for several things at once (select) has a waiter in several lists, of which one may be
// woken: they share a Selection, and to take a waiter off a list is to claim it.
#pragma once

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/biased_lock.hpp>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstddef>
#include <cstdint>

namespace bulkhead::sched {

class Waiter;
struct ThreadParker;

// Claimed once, by whoever wakes one of its waiters.
class Selection {
 public:
  bool claim(Waiter& waiter) {
    Waiter* none = nullptr;
    // acq_rel: whoever sees a winner sees what it was given. Pairs with winner().
    return winner_.compare_exchange_strong(none, &waiter, std::memory_order_acq_rel,
                                           std::memory_order_acquire);
  }
  Waiter* winner() const { return winner_.load(std::memory_order_acquire); }

 private:
  std::atomic<Waiter*> winner_{nullptr};
};

// Lives on the stack of the one who waits. Used for one park at a time.
class Waiter {
 public:
  Waiter() : task_(current_task()), parker_(task_ == nullptr ? this_thread_parker() : nullptr) {}
  explicit Waiter(Selection& selection) : Waiter() { selection_ = &selection; }
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // Blocks the one who constructed the waiter, until wake(). `lock` is held by the caller and is
  // released when a wake() can no longer be missed; it is not taken again.
  void park(Lock& lock, const Wait& wait) BULKHEAD_RELEASE(lock);
  void park(BiasedLock& lock, const Wait& wait) BULKHEAD_RELEASE(lock);
  // The same with any way to release what the caller holds: `release(object)` is called once,
  // perhaps on another stack, when a wake() can no longer be missed. A plain thread waits until
  // `deadline` at most: false, when nobody has woken it by then.
  bool park(void (*release)(void* object), void* object, const Wait& wait,
            base::TimePoint deadline = base::TimePoint::max());

  // From any thread or goroutine, once for each park.
  void wake();

  Task* task() const { return task_; }  // nullptr: a plain thread waits

 private:
  friend class WaiterList;

  template <class AnyLock>
  void park_with(AnyLock& lock, const Wait& wait);

  static ThreadParker* this_thread_parker();

  Task* const task_;            // the waiting goroutine, or
  ThreadParker* const parker_;  // the waiting thread's; exactly one of them is set
  Selection* selection_ = nullptr;
  // Guarded by the lock of the list that holds the waiter.
  Waiter* next_ = nullptr;
  Waiter* previous_ = nullptr;
  bool listed_ = false;
};

// FIFO of waiters, guarded by its primitive's lock. Owns nothing. A ring, so that it takes one
// word: a channel's state fits into a cache line.
class WaiterList {
 public:
  bool empty() const { return first_ == nullptr; }
  void push_back(Waiter& waiter) {
    waiter.listed_ = true;
    if (first_ == nullptr) {
      first_ = waiter.next_ = waiter.previous_ = &waiter;
      return;
    }
    waiter.next_ = first_;
    waiter.previous_ = first_->previous_;
    first_->previous_->next_ = &waiter;
    first_->previous_ = &waiter;
  }
  void push_front(Waiter& waiter) {
    push_back(waiter);
    first_ = &waiter;
  }
  // The first that can be claimed, now claimed; nullptr: there is none.
  Waiter* pop_front() {
    while (Waiter* const waiter = first_) {
      remove(*waiter);
      if (waiter->selection_ == nullptr || waiter->selection_->claim(*waiter)) return waiter;
    }
    return nullptr;
  }
  // Nothing when it is not listed.
  void remove(Waiter& waiter) {
    if (!waiter.listed_) return;
    waiter.listed_ = false;
    if (waiter.next_ == &waiter) {
      first_ = nullptr;
      return;
    }
    waiter.previous_->next_ = waiter.next_;
    waiter.next_->previous_ = waiter.previous_;
    if (first_ == &waiter) first_ = waiter.next_;
  }
  // Takes all that can be claimed; wake_all() is then called without the lock.
  WaiterList take();
  void wake_all();

 private:
  Waiter* first_ = nullptr;
};

}  // namespace bulkhead::sched
