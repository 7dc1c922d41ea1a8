#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <chrono>

#include "sched/pause.hpp"

namespace bulkhead::sched {
namespace {

constexpr base::Duration kPatience = std::chrono::milliseconds(1);

struct MutexWaiter : Waiter {
  explicit MutexWaiter(base::TimePoint first_tried) : since(first_tried) {}
  const base::TimePoint since;
  bool owns = false;  // handed over; written before wake(), read after park()
};

}  // namespace

Mutex::~Mutex() {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(state_.load(std::memory_order_acquire) == 0 && waiters_.empty(),
                 "a mutex is destroyed while it is in use");
}

// Whoever has the mutex mostly needs it for a moment only, when he runs on another processor.
bool Mutex::spin() {
  constexpr int kSpins = 30;
  const ProcessorHead* const processor = this_processor();
  if (processor != nullptr && processor->alone) return false;
  for (int i = 0; i < kSpins; ++i) {
    pause_cpu();
    if ((state_.load(std::memory_order_relaxed) & kLocked) == 0 && take()) return true;
  }
  return false;
}

void Mutex::lock_slow() {
  if (spin()) return;
  const base::TimePoint since = now();
  for (bool woken = false;; woken = true) {
    lock_.lock();
    std::uint32_t state = state_.load(std::memory_order_relaxed);
    bool mine = false;
    std::uint32_t next = 0;
    do {
      mine = (state & kLocked) == 0;
      // Either it is ours, or its owner now finds somebody waiting. acquire as in try_lock().
      next = (state & ~(woken ? kWoken : 0)) | (mine ? kLocked : kWaiting);
    } while (!state_.compare_exchange_weak(state, next, std::memory_order_acquire,
                                           std::memory_order_relaxed));
    if (mine) {
      lock_.unlock();
      return;
    }
    MutexWaiter waiter(since);
    // A woken waiter that found the mutex taken again keeps its place.
    if (woken)
      waiters_.push_front(waiter);
    else
      waiters_.push_back(waiter);
    waiter.park(lock_, ParkReason::kMutex);
    if (waiter.owns) return;
  }
}

void Mutex::unlock_slow() {
  lock_.lock();
  BULKHEAD_CHECK((state_.load(std::memory_order_relaxed) & kLocked) != 0,
                 "a mutex is unlocked that is not locked");
  auto* const waiter = static_cast<MutexWaiter*>(waiters_.pop_front());
  const std::uint32_t waiting = waiters_.empty() ? 0 : kWaiting;
  // Handed over: it stays locked, for the waiter.
  if (waiter != nullptr) waiter->owns = now() - waiter->since >= kPatience;
  const bool handed_over = waiter != nullptr && waiter->owns;
  const std::uint32_t woken = waiter != nullptr && !handed_over ? kWoken : 0;
  // release pairs with the acquires in lock(); nobody else changes it: it is locked.
  state_.store((handed_over ? kLocked : 0) | waiting | woken, std::memory_order_release);
  lock_.unlock();
  if (waiter != nullptr) waiter->wake();
}

}  // namespace bulkhead::sched
