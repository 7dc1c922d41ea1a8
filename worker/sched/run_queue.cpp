#include "sched/run_queue.hpp"

#include <algorithm>
#include <utility>

#include "sched/task.hpp"

namespace bulkhead::sched {

void RunQueue::begin() {
  base::MutexLock guard(mutex_);
  finished_ = false;
}

void RunQueue::add(Task& task) {
  base::MutexLock guard(mutex_);
  ++alive_;
  append(task);
  wake_one();
}

void RunQueue::push(Task& task) {
  // Notified under the lock: once it is released the last goroutine may end, run() return, and the
  // scheduler be destroyed, while the waker, a plain thread, is still here.
  base::MutexLock guard(mutex_);
  append(task);
  wake_one();
}

void RunQueue::push_timer(Task& task) {
  base::MutexLock guard(mutex_);
  task.set_state(TaskInfo::State::kSleeping);
  timers_.push_back({task.deadline, timers_seen_++, &task});
  std::push_heap(timers_.begin(), timers_.end(), Later{});
  // A sleeper must learn of the earlier deadline: the caller may soon be busy with another task.
  if (timers_.front().task == &task) wake_one();
}

void RunQueue::retire() {
  base::MutexLock guard(mutex_);
  if (--alive_ > 0) return;
  finished_ = true;
  work_.notify_all();
}

Task* RunQueue::pop() {
  base::MutexLock guard(mutex_);
  for (;;) {
    if (finished_) return nullptr;
    if (!timers_.empty()) fire_timers();
    if (first_ != nullptr) {
      Task* const task = first_;
      first_ = std::exchange(task->next_runnable, nullptr);
      if (first_ == nullptr) last_ = nullptr;
      return task;
    }
    ++idle_;
    if (timers_.empty()) {
      work_.wait(mutex_);
    } else {
      const base::TimePoint earliest = timers_.front().deadline;
      work_.wait_until(mutex_, earliest);
    }
    --idle_;
  }
}

std::uint64_t RunQueue::alive() const {
  base::MutexLock guard(mutex_);
  return alive_;
}

std::vector<Task*> RunQueue::drain() {
  base::MutexLock guard(mutex_);
  std::vector<Task*> tasks;
  while (first_ != nullptr) {
    tasks.push_back(first_);
    first_ = first_->next_runnable;
  }
  last_ = nullptr;
  alive_ -= tasks.size();
  return tasks;
}

void RunQueue::append(Task& task) {
  task.set_state(TaskInfo::State::kRunnable);
  task.reason.store(ParkReason::kNone, std::memory_order_relaxed);
  task.next_runnable = nullptr;
  if (last_ != nullptr)
    last_->next_runnable = &task;
  else
    first_ = &task;
  last_ = &task;
}

void RunQueue::wake_one() {
  if (idle_ > 0) work_.notify_one();
}

void RunQueue::fire_timers() {
  const base::TimePoint now = base::Clock::now();
  unsigned fired = 0;
  while (!timers_.empty() && timers_.front().deadline <= now) {
    std::pop_heap(timers_.begin(), timers_.end(), Later{});
    append(*timers_.back().task);
    timers_.pop_back();
    if (++fired > 1) wake_one();  // the first is for the caller
  }
}

}  // namespace bulkhead::sched
