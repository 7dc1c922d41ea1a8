#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/cond.hpp>

namespace bulkhead::sched {

// In the list from before the mutex is unlocked, so that no signal is missed; the mutex is unlocked
// without lock_, for it may have others to wake. A signal that arrives in between finds the entry
// not parked, and the entry then does not park at all. Both flags are guarded by lock_.
struct Cond::Entry : Waiter {
  bool parked = false;
  bool signalled = false;
};

Cond::~Cond() {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(waiters_.empty(), "a cond is destroyed while somebody waits for it");
}

// park() releases the lock, on one branch of two.
void Cond::wait(std::unique_lock<Mutex>& lock,
                base::SourceSite site) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  BULKHEAD_CHECK(lock.owns_lock(), "a cond is waited for without its mutex locked");
  Entry entry;
  lock_.lock();
  BULKHEAD_CHECK(waiters_.empty() || mutex_ == lock.mutex(),
                 "a cond is waited for with two mutexes at a time");
  mutex_ = lock.mutex();
  waiters_.push_back(entry);
  lock_.unlock();
  lock.unlock();
  lock_.lock();
  if (entry.signalled) {
    lock_.unlock();
  } else {
    entry.parked = true;
    entry.park(lock_, {ParkReason::kCond, this, site});
  }
  lock.lock();
}

void Cond::signal() {
  interleave();
  lock_.lock();
  auto* const entry = static_cast<Entry*>(waiters_.pop_front());
  bool wake = false;
  if (entry != nullptr) {
    entry->signalled = true;
    wake = entry->parked;
  }
  lock_.unlock();  // from here on an entry that had not parked may be gone
  if (wake) entry->wake();
}

void Cond::broadcast() {
  interleave();
  lock_.lock();
  WaiterList all = waiters_.take();
  WaiterList ready;
  while (auto* const entry = static_cast<Entry*>(all.pop_front())) {
    entry->signalled = true;
    if (entry->parked) ready.push_back(*entry);
  }
  lock_.unlock();
  ready.wake_all();
}

}  // namespace bulkhead::sched
