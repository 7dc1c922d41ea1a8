// Deadlines of one scheduler: a 4-ary heap under one lock. Equal deadlines fire first come, first
// served.
#pragma once

#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/timer_node.hpp>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

namespace bulkhead::sched {

class Timers {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  // Borrows `node` until it fires or disarm() takes it back. Not armed already.
  void arm(TimerNode& node, std::int64_t deadline_ns) { insert(node, deadline_ns, true); }
  // The same for one that nobody will disarm: it is not touched before it fires. (Nodes lie on
  // stacks that have grown cold; each that moves in the heap would cost a cache miss.)
  void arm_for_good(TimerNode& node, std::int64_t deadline_ns) { insert(node, deadline_ns, false); }
  // True: it will not fire. False: it has fired, or was not armed; when this returns, fire() has.
  bool disarm(TimerNode& node);
  // Fires what is due, in order, so many at most, under the lock: TimerNode::fire must not block,
  // nor arm or disarm a timer. True when something has fired.
  bool fire(std::int64_t now_ns, std::size_t most = std::numeric_limits<std::size_t>::max());
  // kNever: none. Without the lock: right unless somebody arms at this moment.
  std::int64_t earliest() const { return earliest_.load(std::memory_order_acquire); }

 private:
  struct Entry {
    std::int64_t deadline;
    std::uint64_t order;
    TimerNode* node;
    bool tracked;  // the node is told its place
    bool before(const Entry& other) const {
      return deadline != other.deadline ? deadline < other.deadline : order < other.order;
    }
  };

  void insert(TimerNode& node, std::int64_t deadline_ns, bool tracked);
  void place(std::size_t at, const Entry& entry) BULKHEAD_REQUIRES(lock_);
  void sift_up(std::size_t at, const Entry& entry) BULKHEAD_REQUIRES(lock_);
  void sift_down(std::size_t at, const Entry& entry) BULKHEAD_REQUIRES(lock_);
  void remove(std::size_t at) BULKHEAD_REQUIRES(lock_);
  void publish() BULKHEAD_REQUIRES(lock_);

  std::atomic<bool> firing_{false};  // by one processor at a time: the others have better to do
  Lock lock_;
  std::vector<Entry> heap_ BULKHEAD_GUARDED_BY(lock_);
  std::uint64_t armed_ BULKHEAD_GUARDED_BY(lock_) = 0;  // ever
  std::atomic<std::int64_t> earliest_{kNever};
};

}  // namespace bulkhead::sched
