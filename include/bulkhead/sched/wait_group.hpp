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

#include <atomic>
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
  void add(std::int64_t count = 1) {
    interleave();
    // acq_rel: what was done before each done() is visible to whoever sees 0. From here on, unless
    // somebody waits for us to wake him, the group may be gone.
    const std::int64_t before = state_.fetch_add(count * kOne, std::memory_order_acq_rel);
    const std::int64_t after = before + count * kOne;
    if (after < kOne) [[unlikely]]
      reached_zero(after);
  }
  void done() { add(-1); }
  void wait(base::SourceSite site = base::SourceSite::current());

 private:
  // The count in the upper half, those who wait in the lower one.
  static constexpr std::int64_t kOne = std::int64_t{1} << 32;

  void reached_zero(std::int64_t state);

  std::atomic<std::int64_t> state_{0};
  Lock lock_;
  WaiterList waiters_ BULKHEAD_GUARDED_BY(lock_);
};

}  // namespace bulkhead::sched
