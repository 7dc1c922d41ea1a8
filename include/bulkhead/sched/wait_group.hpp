// WaitGroup: wait until a number of things have been done.
//
//   sched::WaitGroup group;
//   group.add(1);
//   sched::go([&] { work(); group.done(); });
//   group.wait();
//
// From goroutines and plain threads alike. What happened before done() is visible after the wait()
// that it ends. The group may be destroyed as soon as wait() has returned.
#pragma once

#include <bulkhead/sched/waiter.hpp>
#include <cstdint>

namespace bulkhead::sched {

class WaitGroup {
 public:
  WaitGroup() = default;
  ~WaitGroup();  // nobody may wait
  WaitGroup(const WaitGroup&) = delete;
  WaitGroup& operator=(const WaitGroup&) = delete;

  // Before the thing starts, not in it: else wait() may miss it. A count below 0 is a programmer's
  // error.
  void add(std::int64_t count = 1);
  void done() { add(-1); }
  void wait();

 private:
  Lock lock_;
  std::int64_t count_ BULKHEAD_GUARDED_BY(lock_) = 0;
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
