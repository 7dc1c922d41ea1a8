#include "sched/timers.hpp"

#include <algorithm>
#include <array>

namespace bulkhead::sched {
namespace {
constexpr std::size_t kChildren = 4;
constexpr std::size_t kBatch = 16;
}  // namespace

void Timers::insert(TimerNode& node, std::int64_t deadline_ns, bool tracked) {
  LockGuard guard(lock_);
  BULKHEAD_CHECK(node.place == TimerNode::kNotArmed, "a timer is armed twice");
  heap_.push_back({});
  sift_up(heap_.size() - 1, {deadline_ns, armed_++, &node, tracked});
  publish();
}

bool Timers::disarm(TimerNode& node) {
  LockGuard guard(lock_);
  if (node.place == TimerNode::kNotArmed) return false;
  remove(node.place);
  publish();
  return true;
}

bool Timers::fire(std::int64_t now_ns, std::size_t most) {
  // acquire pairs with the release below.
  if (firing_.exchange(true, std::memory_order_acquire)) return false;
  LockGuard guard(lock_);
  std::size_t fired = 0;
  std::array<TimerNode*, kBatch> due;  // nodes lie on stacks that have grown cold
  std::size_t count = 0;
  do {
    const std::size_t limit = std::min(kBatch, most - fired);
    for (count = 0; count < limit && !heap_.empty() && heap_.front().deadline <= now_ns; ++count) {
      due[count] = heap_.front().node;
      __builtin_prefetch(due[count]);
      remove(0);
    }
    for (std::size_t i = 0; i < count; ++i) __builtin_prefetch(due[i]->touches);
    for (std::size_t i = 0; i < count; ++i) due[i]->fire(*due[i]);  // it may be gone afterwards
    fired += count;
  } while (count == kBatch);
  publish();
  firing_.store(false, std::memory_order_release);
  return fired > 0;
}

void Timers::place(std::size_t at, const Entry& entry) {
  heap_[at] = entry;
  if (entry.tracked) entry.node->place = at;
}

void Timers::sift_up(std::size_t at, const Entry& entry) {
  while (at > 0) {
    const std::size_t parent = (at - 1) / kChildren;
    if (!entry.before(heap_[parent])) break;
    place(at, heap_[parent]);
    at = parent;
  }
  place(at, entry);
}

void Timers::sift_down(std::size_t at, const Entry& entry) {
  for (;;) {
    const std::size_t first = at * kChildren + 1;
    if (first >= heap_.size()) break;
    std::size_t least = first;
    const std::size_t end = std::min(first + kChildren, heap_.size());
    for (std::size_t child = first + 1; child < end; ++child)
      if (heap_[child].before(heap_[least])) least = child;
    if (!heap_[least].before(entry)) break;
    place(at, heap_[least]);
    at = least;
  }
  place(at, entry);
}

void Timers::remove(std::size_t at) {
  if (heap_[at].tracked) heap_[at].node->place = TimerNode::kNotArmed;
  const Entry last = heap_.back();
  heap_.pop_back();
  if (at == heap_.size()) return;
  if (at > 0 && last.before(heap_[(at - 1) / kChildren]))
    sift_up(at, last);
  else
    sift_down(at, last);
}

void Timers::publish() {
  // release pairs with the acquire in earliest().
  earliest_.store(heap_.empty() ? kNever : heap_.front().deadline, std::memory_order_release);
}

}  // namespace bulkhead::sched
