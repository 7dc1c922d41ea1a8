#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <chrono>

#include "sched/mutex_holders.hpp"
#include "sched/pause.hpp"
#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

constexpr base::Duration kPatience = std::chrono::milliseconds(1);

std::atomic<unsigned> reports_under_way{0};  // see mutex_holders.hpp

struct MutexWaiter : Waiter {
  explicit MutexWaiter(base::TimePoint first_tried) : since(first_tried) {}
  const base::TimePoint since;
  bool owns = false;  // handed over; written before wake(), read after park()
};

}  // namespace

MutexHolders::MutexHolders() {
  reports_under_way.fetch_add(1, std::memory_order_seq_cst);
  full_fence();
}

// release pairs with the acquire in ~Mutex().
MutexHolders::~MutexHolders() { reports_under_way.fetch_sub(1, std::memory_order_release); }

const Task* MutexHolders::holder(const Mutex& mutex) {
  const std::uintptr_t state = mutex.state_.load(std::memory_order_relaxed);
  constexpr std::uintptr_t kFlags = Mutex::kLocked | Mutex::kWaiting | Mutex::kWoken;
  return (state & Mutex::kLocked) != 0 ? reinterpret_cast<const Task*>(state & ~kFlags) : nullptr;
}

Mutex::~Mutex() {
  full_fence();
  while (reports_under_way.load(std::memory_order_acquire) != 0) yield_thread();
  LockGuard guard(lock_);
  BULKHEAD_CHECK(state_.load(std::memory_order_acquire) == 0 && waiters_.empty(),
                 "a mutex is destroyed while it is in use");
}

// Whoever has the mutex mostly needs it for a moment only, when he runs on another processor.
bool Mutex::spin() {
  constexpr int kSpins = 30;
  const ProcessorHead* const processor = this_processor();
  if (processor != nullptr && processor->alone()) return false;
  for (int i = 0; i < kSpins; ++i) {
    pause_cpu();
    if ((state_.load(std::memory_order_relaxed) & kLocked) == 0 && take()) return true;
  }
  return false;
}

void Mutex::lock_slow(base::SourceSite site) {
  if (spin()) return;
  const base::TimePoint since = now();
  for (bool woken = false;; woken = true) {
    lock_.lock();
    std::uintptr_t state = state_.load(std::memory_order_relaxed);
    bool mine = false;
    std::uintptr_t next = 0;
    do {
      mine = (state & kLocked) == 0;
      // Either it is ours, or its owner now finds somebody waiting. acquire as in try_lock().
      next = (state & ~(woken ? kWoken : 0)) | (mine ? owner_word() : kWaiting);
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
    waiter.park(lock_, {ParkReason::kMutex, this, site});
    if (waiter.owns) return;
  }
}

void Mutex::unlock_slow() {
  lock_.lock();
  BULKHEAD_CHECK((state_.load(std::memory_order_relaxed) & kLocked) != 0,
                 "a mutex is unlocked that is not locked");
  auto* const waiter = static_cast<MutexWaiter*>(waiters_.pop_front());
  const std::uintptr_t waiting = waiters_.empty() ? 0 : kWaiting;
  // Handed over: it stays locked, for the waiter.
  if (waiter != nullptr) waiter->owns = now() - waiter->since >= kPatience;
  const bool handed_over = waiter != nullptr && waiter->owns;
  const std::uintptr_t woken = waiter != nullptr && !handed_over ? kWoken : 0;
  const std::uintptr_t locked =
      handed_over ? reinterpret_cast<std::uintptr_t>(waiter->task()) | kLocked : 0;
  // release pairs with the acquires in lock(); nobody else changes it: it is locked.
  state_.store(locked | waiting | woken, std::memory_order_release);
  lock_.unlock();
  if (waiter != nullptr) waiter->wake();
}

}  // namespace bulkhead::sched
