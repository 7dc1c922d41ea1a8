#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <chrono>

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
  BULKHEAD_CHECK(!locked_ && waiters_.empty(), "a mutex is destroyed while it is in use");
}

bool Mutex::try_lock() {
  LockGuard guard(lock_);
  if (locked_) return false;
  locked_ = true;
  return true;
}

void Mutex::lock() {
  if (try_lock()) return;
  const base::TimePoint since = base::Clock::now();
  for (bool woken = false;; woken = true) {
    lock_.lock();
    if (!locked_) {
      locked_ = true;
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

void Mutex::unlock() {
  lock_.lock();
  BULKHEAD_CHECK(locked_, "a mutex is unlocked that is not locked");
  auto* const waiter = static_cast<MutexWaiter*>(waiters_.pop_front());
  if (waiter == nullptr) {
    locked_ = false;
    lock_.unlock();
    return;
  }
  // Handed over: it stays locked, for the waiter.
  waiter->owns = base::Clock::now() - waiter->since >= kPatience;
  locked_ = waiter->owns;
  lock_.unlock();
  waiter->wake();
}

}  // namespace bulkhead::sched
