#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/wait_group.hpp>

namespace bulkhead::sched {

WaitGroup::~WaitGroup() {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(waiters_.empty(), "a wait group is destroyed while somebody waits for it");
}

void WaitGroup::add(std::int64_t count) {
  lock_.lock();
  count_ += count;
  BULKHEAD_CHECK(count_ >= 0, "a wait group's count falls to {}: more done() than add()", count_);
  WaiterList ready;
  if (count_ == 0) ready = waiters_.take();
  lock_.unlock();  // the group may be gone from here on
  ready.wake_all();
}

void WaitGroup::wait() {
  lock_.lock();
  if (count_ == 0) {
    lock_.unlock();
    return;
  }
  Waiter waiter;
  waiters_.push_back(waiter);
  waiter.park(lock_, ParkReason::kWaitGroup);
}

}  // namespace bulkhead::sched
