#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/semaphore.hpp>

namespace bulkhead::sched {

struct Semaphore::Entry : Waiter {
  explicit Entry(std::int64_t wanted) : count(wanted) {}
  const std::int64_t count;
};

Semaphore::Semaphore(std::int64_t size) : size_(size), free_(size) {
  BULKHEAD_CHECK(size >= 0, "a semaphore of size {}", size);
}

Semaphore::~Semaphore() {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(waiters_.empty(), "a semaphore is destroyed while somebody waits for it");
}

bool Semaphore::take(std::int64_t count) {
  if (count > free_ || !waiters_.empty()) return false;
  free_ -= count;
  return true;
}

// park() releases the lock, on one branch of two.
void Semaphore::acquire(std::int64_t count,
                        base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  interleave();
  BULKHEAD_CHECK(count >= 0 && count <= size_, "{} units are acquired of a semaphore of size {}",
                 count, size_);
  lock_.lock();
  if (take(count)) {
    lock_.unlock();
    return;
  }
  Entry entry(count);
  waiters_.push_back(entry);
  entry.park(lock_, {ParkReason::kSemaphore, this, site});  // woken as the owner of its units
}

bool Semaphore::try_acquire(std::int64_t count) {
  interleave();
  BULKHEAD_CHECK(count >= 0, "{} units are acquired of a semaphore of size {}", count, size_);
  LockGuard guard(lock_);
  return take(count);
}

void Semaphore::release(std::int64_t count) {
  interleave();
  lock_.lock();
  BULKHEAD_CHECK(count >= 0 && count <= size_ - free_,
                 "{} units are released of a semaphore of which {} are out", count, size_ - free_);
  free_ += count;
  WaiterList ready;
  while (auto* const entry = static_cast<Entry*>(waiters_.pop_front())) {
    if (entry->count > free_) {
      waiters_.push_front(*entry);  // first in line still
      break;
    }
    free_ -= entry->count;
    ready.push_back(*entry);
  }
  lock_.unlock();  // the semaphore may be gone from here on
  ready.wake_all();
}

}  // namespace bulkhead::sched
