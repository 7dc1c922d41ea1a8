// The slow halves of RWMutex. A writer closes the gate by setting kWriter: from then on a reader
// that adds itself to the count waits. The count at that instant is how many readers the writer has
// to drain; the count at unlock() is how many have gathered at the gate, and all of those are let
// in, also the ones that are still on their way to readers_ (admitted_). Since kWriter is set
// outside of the fast path only under lock_, a reader that leaves and sees it finds to_drain_ set.
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <utility>

namespace bulkhead::sched {

RWMutex::~RWMutex() {
  LockGuard guard(lock_);
  // relaxed: whoever destroys has seen the last unlock by other means.
  BULKHEAD_CHECK(word_.load(std::memory_order_relaxed) == 0,
                 "an rwmutex is destroyed while it is in use");
}

bool RWMutex::try_lock_shared() {
  interleave();
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  while ((seen & kWriter) == 0) {
    // acquire pairs with the release in unlock().
    if (word_.compare_exchange_weak(seen, seen + 1, std::memory_order_acquire,
                                    std::memory_order_relaxed))
      return true;
  }
  return false;
}

// park() releases the lock, on one branch of three.
void RWMutex::lock_slow(base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  Waiter waiter;
  lock_.lock();
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  // acquire pairs with the release of whoever unlocked last.
  while (!word_.compare_exchange_weak(seen, seen | ((seen & kWriter) != 0 ? kQueue : kWriter),
                                      std::memory_order_acquire, std::memory_order_relaxed)) {
  }
  if ((seen & kWriter) != 0) {
    writers_.push_back(waiter);
  } else if ((seen & kReaders) != 0) {
    drainer_ = &waiter;
    to_drain_ = seen & kReaders;
  } else {
    lock_.unlock();
    return;
  }
  waiter.park(lock_, {ParkReason::kRWMutexWrite, this, site});  // woken as the owner
}

void RWMutex::unlock_slow() BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  lock_.lock();
  std::uint64_t seen = word_.load(std::memory_order_relaxed);
  BULKHEAD_CHECK((seen & kWriter) != 0 && drainer_ == nullptr,
                 "an rwmutex is unlocked that is not locked for writing");
  WaiterList ready = readers_.take();
  Waiter* const next = writers_.pop_front();
  const std::uint64_t flags = (next != nullptr ? kWriter : 0) | (writers_.empty() ? 0 : kQueue);
  // acq_rel: release pairs with the acquire of the readers let in and of the next owner; acquire
  // with the release of a reader that came and went.
  while (!word_.compare_exchange_weak(seen, (seen & kReaders) | flags, std::memory_order_acq_rel,
                                      std::memory_order_relaxed)) {
  }
  const std::uint64_t readers = seen & kReaders;
  admitted_ += readers - std::exchange(parked_readers_, 0);
  const bool drain = next != nullptr && readers != 0;
  if (drain) {
    drainer_ = next;
    to_drain_ = readers;
  }
  lock_.unlock();  // the mutex may be gone from here on
  ready.wake_all();
  if (next != nullptr && !drain) next->wake();
}

void RWMutex::lock_shared_slow(base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  Waiter waiter;
  lock_.lock();
  if (admitted_ != 0) {
    --admitted_;
    lock_.unlock();
    return;
  }
  ++parked_readers_;
  readers_.push_back(waiter);
  waiter.park(lock_, {ParkReason::kRWMutexRead, this, site});
}

void RWMutex::unlock_shared_slow(std::uint64_t before) {
  BULKHEAD_CHECK((before & kReaders) != 0, "an rwmutex is unlocked that is not locked for reading");
  lock_.lock();
  BULKHEAD_CHECK(to_drain_ != 0, "an rwmutex is unlocked that is not locked for reading");
  Waiter* const writer = --to_drain_ == 0 ? std::exchange(drainer_, nullptr) : nullptr;
  lock_.unlock();
  if (writer != nullptr) writer->wake();
}

}  // namespace bulkhead::sched
