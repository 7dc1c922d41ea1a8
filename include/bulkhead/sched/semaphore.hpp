// Semaphore: `size` units, of which each user takes as many as it weighs.
//
//   sched::Semaphore memory(1024);   // MiB
//   memory.acquire(300); ... memory.release(300);
//
// FIFO: while one waits, whoever comes later waits behind it, also if there were enough for the
// later one; so a large one is not starved by small ones. From goroutines and plain threads alike.
#pragma once

#include <bulkhead/sched/waiter.hpp>
#include <cstdint>

namespace bulkhead::sched {

class Semaphore {
 public:
  explicit Semaphore(std::int64_t size);  // all of it free
  ~Semaphore();                           // nobody may wait; units may be out
  Semaphore(const Semaphore&) = delete;
  Semaphore& operator=(const Semaphore&) = delete;

  // A negative count, one beyond the size (it would wait for ever), and a release of more than is
  // out are programmer's errors. 0 is allowed, and waits behind those who wait.
  void acquire(std::int64_t count = 1, base::SourceSite site = base::SourceSite::current());
  // Never blocks. Fails while anybody waits.
  bool try_acquire(std::int64_t count = 1);
  void release(std::int64_t count = 1);

 private:
  struct Entry;

  bool take(std::int64_t count) BULKHEAD_REQUIRES(lock_);

  const std::int64_t size_;
  Lock lock_;
  std::int64_t free_ BULKHEAD_GUARDED_BY(lock_);
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
