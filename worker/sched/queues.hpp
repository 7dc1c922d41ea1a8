// The two run queues of a processor, and the one of all. Each holds 256 tasks; more go to the
// injector.
//
// Memory orders: the owner publishes a task by the release store of the end that it pushes at;
// whoever takes one from another thread loads that end with acquire. Taking is a compare-and-swap
// of `head_`, so each task is taken once. Slots are reused only when `head_` has passed them, which
// makes a taker that was too slow fail.
//
// `shared` is false while the scheduler has one processor: nobody else takes, and the owner need
// not pay for it.
#pragma once

#include <array>
#include <atomic>
#include <bulkhead/base/full_fence.hpp>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstdint>

namespace bulkhead::sched {

inline constexpr std::uint32_t kQueueSlots = 256;

using base::full_fence;

// First in, first out: goroutines that have become runnable again. One producer, many consumers.
// After Go's runqput, runqget and runqgrab (runtime/proc.go).
class ReadyQueue {
 public:
  // Owner. False: full.
  bool push(Task& task) {
    const std::uint32_t tail = tail_.load(std::memory_order_relaxed);
    if (tail - head_.load(std::memory_order_acquire) == kQueueSlots) return false;
    slots_[tail % kQueueSlots].store(&task, std::memory_order_relaxed);
    tail_.store(tail + 1, std::memory_order_release);
    return true;
  }

  // Owner. nullptr: empty.
  Task* pop(bool shared) {
    if (!shared) {
      const std::uint32_t head = head_.load(std::memory_order_relaxed);
      if (head == tail_.load(std::memory_order_relaxed)) return nullptr;
      Task* const task = slots_[head % kQueueSlots].load(std::memory_order_relaxed);
      head_.store(head + 1, std::memory_order_relaxed);
      warm(head);
      return task;
    }
    warm(head_.load(std::memory_order_relaxed));
    return take();
  }

  // From any thread. nullptr: empty.
  Task* take() {
    std::uint32_t head = head_.load(std::memory_order_acquire);
    for (;;) {
      if (head == tail_.load(std::memory_order_acquire)) return nullptr;
      Task* const task = slots_[head % kQueueSlots].load(std::memory_order_relaxed);
      if (head_.compare_exchange_weak(head, head + 1, std::memory_order_acq_rel,
                                      std::memory_order_acquire))
        return task;
    }
  }

  std::uint32_t size() const {
    const std::uint32_t head = head_.load(std::memory_order_acquire);
    return tail_.load(std::memory_order_acquire) - head;
  }

 private:
  static constexpr std::uint32_t kAhead = 4;
  static constexpr std::uintptr_t kTopBytes = 320;

  // Owner. Of many, some have waited for long and have grown cold: of those that come soon the
  // record is fetched, and then the top of the stack, with the frames that a park leaves there.
  // (Records stay mapped, whoever takes them.)
  void warm(std::uint32_t head) const {
    if (tail_.load(std::memory_order_relaxed) - head < 2 * kAhead) [[likely]]
      return;
    __builtin_prefetch(
        slots_[(head + 2 * kAhead - 1) % kQueueSlots].load(std::memory_order_relaxed));
    const Task* const soon = slots_[(head + kAhead) % kQueueSlots].load(std::memory_order_relaxed);
    const auto top = reinterpret_cast<std::uintptr_t>(soon->fiber.load(std::memory_order_relaxed));
    for (std::uintptr_t line = top - kTopBytes; line <= top + 64; line += 64)
      __builtin_prefetch(reinterpret_cast<const void*>(line));
  }

  alignas(64) std::atomic<std::uint32_t> head_{0};
  alignas(64) std::atomic<std::uint32_t> tail_{0};
  std::array<std::atomic<Task*>, kQueueSlots> slots_{};
};

// Goroutines that have not started. They start in the order of their go(), as long as few of them
// wait; of many the owner takes the youngest, so that a tree of goroutines is walked depth first,
// with few stacks in use. Others always take the oldest.
// Chase and Lev, "Dynamic circular work-stealing deque" (2005), with the orders of Lê et al.
// (2013).
class FreshQueue {
 public:
  static constexpr std::uint32_t kMany = 64;

  // Owner. False: full.
  bool push(Task& task) {
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed);
    if (bottom - top_.load(std::memory_order_acquire) >= kQueueSlots) return false;
    slot(bottom).store(&task, std::memory_order_relaxed);
    bottom_.store(bottom + 1, std::memory_order_release);
    return true;
  }

  // Owner. nullptr: empty.
  Task* pop(bool shared) { return size() < kMany ? pop_oldest(shared) : pop_youngest(shared); }

  Task* pop_oldest(bool shared) {
    if (shared) return take();
    const std::int64_t top = top_.load(std::memory_order_relaxed);
    if (top == bottom_.load(std::memory_order_relaxed)) return nullptr;
    top_.store(top + 1, std::memory_order_relaxed);
    return slot(top).load(std::memory_order_relaxed);
  }

  Task* pop_youngest(bool shared) {
    const std::int64_t bottom = bottom_.load(std::memory_order_relaxed) - 1;
    if (!shared) {
      if (bottom < top_.load(std::memory_order_relaxed)) return nullptr;
      bottom_.store(bottom, std::memory_order_relaxed);
      return slot(bottom).load(std::memory_order_relaxed);
    }
    if (bottom < top_.load(std::memory_order_relaxed)) return nullptr;  // only grows: surely empty
    // release: those below stay published for whoever reads this value.
    bottom_.store(bottom, std::memory_order_release);
    // seq_cst pairs with the fence in take(): either we see its new top or it sees our bottom.
    full_fence();
    std::int64_t top = top_.load(std::memory_order_relaxed);
    Task* task = nullptr;
    if (top < bottom) return slot(bottom).load(std::memory_order_relaxed);
    if (top == bottom) {  // the last one: whoever moves `top_` has it
      task = slot(bottom).load(std::memory_order_relaxed);
      if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst,
                                        std::memory_order_relaxed))
        task = nullptr;
    }
    // release: as in push(); the tasks below stay published.
    bottom_.store(bottom + 1, std::memory_order_release);
    return task;
  }

  // From any thread: the oldest. nullptr: empty, or another was faster.
  Task* take() {
    std::int64_t top = top_.load(std::memory_order_acquire);
    full_fence();  // see pop()
    if (top >= bottom_.load(std::memory_order_acquire)) return nullptr;
    Task* const task = slot(top).load(std::memory_order_relaxed);
    if (!top_.compare_exchange_strong(top, top + 1, std::memory_order_seq_cst,
                                      std::memory_order_relaxed))
      return nullptr;
    return task;
  }

  std::uint32_t size() const {
    const std::int64_t top = top_.load(std::memory_order_acquire);
    const std::int64_t size = bottom_.load(std::memory_order_acquire) - top;
    return size > 0 ? static_cast<std::uint32_t>(size) : 0;
  }

 private:
  std::atomic<Task*>& slot(std::int64_t at) {
    return slots_[static_cast<std::uint64_t>(at) % kQueueSlots];
  }

  alignas(64) std::atomic<std::int64_t> top_{0};
  alignas(64) std::atomic<std::int64_t> bottom_{0};
  std::array<std::atomic<Task*>, kQueueSlots> slots_{};
};

// A list of tasks through their `next`.
struct TaskList {
  Task* first = nullptr;
  Task* last = nullptr;
  std::uint32_t count = 0;

  void push_back(Task& task) {
    task.next = nullptr;
    (last != nullptr ? last->next : first) = &task;
    last = &task;
    ++count;
  }
  Task* pop_front() {
    Task* const task = first;
    if (task == nullptr) return nullptr;
    first = task->next;
    if (first == nullptr) last = nullptr;
    --count;
    return task;
  }
};

// The queue of all processors: what comes from other threads, and what does not fit elsewhere.
class Injector {
 public:
  void push(Task& task) {
    LockGuard guard(lock_);
    tasks_.push_back(task);
    size_.store(tasks_.count, std::memory_order_release);
  }
  void push(TaskList& list) {
    if (list.count == 0) return;
    LockGuard guard(lock_);
    (tasks_.last != nullptr ? tasks_.last->next : tasks_.first) = list.first;
    tasks_.last = list.last;
    tasks_.count += list.count;
    size_.store(tasks_.count, std::memory_order_release);
    list = {};
  }
  // At most `most`.
  TaskList pop(std::uint32_t most) {
    TaskList list;
    LockGuard guard(lock_);
    while (list.count < most) {
      Task* const task = tasks_.pop_front();
      if (task == nullptr) break;
      // Many that wait have left the caches; their records mostly lie in a row.
      if (tasks_.first != nullptr) __builtin_prefetch(tasks_.first + (tasks_.first - task) * 8);
      list.push_back(*task);
    }
    size_.store(tasks_.count, std::memory_order_release);
    return list;
  }
  // The first that is `wanted`; nullptr: none is. For rare use: it looks at all.
  template <class Wanted>
  Task* pop_first(Wanted wanted) {
    Task* found = nullptr;
    LockGuard guard(lock_);
    for (std::uint32_t left = tasks_.count; left > 0; --left) {
      Task* const task = tasks_.pop_front();
      if (found == nullptr && wanted(*task))
        found = task;
      else
        tasks_.push_back(*task);
    }
    size_.store(tasks_.count, std::memory_order_release);
    return found;
  }
  // Without the lock: right unless somebody pushes at this moment.
  std::uint32_t size() const { return size_.load(std::memory_order_acquire); }

 private:
  Lock lock_;
  TaskList tasks_ BULKHEAD_GUARDED_BY(lock_);
  std::atomic<std::uint32_t> size_{0};
};

}  // namespace bulkhead::sched
