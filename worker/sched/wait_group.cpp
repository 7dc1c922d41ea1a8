#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/wait_group.hpp>

namespace bulkhead::sched {

WaitGroup::~WaitGroup() {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(waiters_.empty(), "a wait group is destroyed while somebody waits for it");
}

void WaitGroup::reached_zero(std::int64_t state) {
  BULKHEAD_CHECK(state >= 0, "a wait group's count falls to {}: more done() than add()",
                 (state >> 32));
  if (state == 0) return;
  // They have counted themselves under the lock, which is free again when they can be woken.
  lock_.lock();
  BULKHEAD_CHECK(state_.compare_exchange_strong(state, 0, std::memory_order_relaxed),
                 "a wait group is used again before wait() has returned");
  WaiterList ready = waiters_.take();
  lock_.unlock();  // the group may be gone from here on
  ready.wake_all();
}

void WaitGroup::wait(base::SourceSite site) {
  lock_.lock();
  std::int64_t state = state_.load(std::memory_order_acquire);
  do {
    if (state < kOne) {  // acquire pairs with the last done()
      lock_.unlock();
      return;
    }
  } while (!state_.compare_exchange_weak(state, state + 1, std::memory_order_acquire,
                                         std::memory_order_acquire));
  Waiter waiter;
  waiters_.push_back(waiter);
  waiter.park(lock_, {ParkReason::kWaitGroup, this, site});
}

}  // namespace bulkhead::sched
