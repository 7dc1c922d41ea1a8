#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/err_group.hpp>

namespace bulkhead::sched {

ErrGroup::~ErrGroup() {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(running_ == 0 && starters_.empty() && waiters_.empty(),
                 "an errgroup is destroyed while {} of its goroutines run", running_);
}

void ErrGroup::set_limit(std::int64_t limit) {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(running_ == 0 && starters_.empty(),
                 "an errgroup's limit is changed while {} of its goroutines run", running_);
  limit_ = limit;
}

bool ErrGroup::try_enter() {
  LockGuard guard(lock_);
  if (limit_ >= 0 && running_ >= limit_) return false;
  ++running_;
  return true;
}

// park() releases the lock, on one branch of two.
void ErrGroup::enter(base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  lock_.lock();
  if (limit_ < 0 || running_ < limit_) {
    ++running_;
    lock_.unlock();
    return;
  }
  Waiter waiter;
  starters_.push_back(waiter);
  waiter.park(lock_,
              {ParkReason::kErrGroup, this, site});  // woken with the place of one that has ended
}

void ErrGroup::end(std::optional<Failure> failure) {
  lock_.lock();
  if (failure.has_value() && !first_.has_value()) first_ = std::move(failure);
  // The place is handed over, so running_ stays as it is.
  Waiter* const starter = starters_.pop_front();
  WaiterList ready;
  if (starter == nullptr && --running_ == 0) ready = waiters_.take();
  lock_.unlock();  // the group may be gone from here on
  if (starter != nullptr) starter->wake();
  ready.wake_all();
}

// park() releases the lock, on one branch of two.
Result<void> ErrGroup::wait(base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  lock_.lock();
  if (running_ != 0) {
    Waiter waiter;
    waiters_.push_back(waiter);
    waiter.park(lock_, {ParkReason::kErrGroup, this, site});
    lock_.lock();
  }
  const std::optional<Failure> failure = first_;
  lock_.unlock();
  if (!failure.has_value()) return {};
  if (failure->exception != nullptr) std::rethrow_exception(failure->exception);
  return fail(failure->error);
}

}  // namespace bulkhead::sched
