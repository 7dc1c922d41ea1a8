#include <bulkhead/base/check.hpp>
#include <bulkhead/base/opaque.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/scheduler.hpp>

namespace bulkhead::sched {
namespace {

// Only for plain threads, which never change under a function.
BULKHEAD_OPAQUE const void* this_thread() {
  thread_local const char here = 0;
  return &here;
}

}  // namespace

Once::~Once() {
  LockGuard guard(lock_);
  // relaxed: written under lock_.
  BULKHEAD_CHECK(state_.load(std::memory_order_relaxed) != State::kRunning,
                 "a once is destroyed while its function runs");
}

Once::Caller Once::caller() {
  const std::uint64_t task = current_task_id();
  return {.where = task != 0 ? static_cast<const void*>(Scheduler::current()) : this_thread(),
          .task = task};
}

// park() releases the lock, on one branch of three.
bool Once::begin(base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  const Caller self = caller();
  lock_.lock();
  // relaxed, all three: under lock_.
  const State seen = state_.load(std::memory_order_relaxed);
  if (seen != State::kRunning) {
    if (seen == State::kFresh) {
      state_.store(State::kRunning, std::memory_order_relaxed);
      runner_ = self;
    }
    lock_.unlock();
    return seen == State::kFresh;
  }
  BULKHEAD_CHECK(runner_ != self,
                 "a once is called from within its own function, which would wait for itself");
  Waiter waiter;
  waiters_.push_back(waiter);
  waiter.park(lock_, {ParkReason::kOnce, this, site});
  return false;
}

void Once::finish() {
  lock_.lock();
  // release pairs with the acquire in call().
  state_.store(State::kDone, std::memory_order_release);
  WaiterList ready = waiters_.take();
  lock_.unlock();  // the once may be gone from here on
  ready.wake_all();
}

}  // namespace bulkhead::sched
