// The seam between scheduling policy and the rest of the scheduler: which task a processor runs
// next, and when processors sleep and wake. Here: one FIFO and one timer heap under one lock.
// Another policy replaces this class behind the same functions.
//
// It also counts the tasks alive, since "nothing left" is what lets sleeping processors go home:
// when the count reaches 0 the run is finished, once and for all processors. A task that an outside
// thread adds after that instant stays for the next begin().
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/mutex.hpp>
#include <condition_variable>
#include <cstdint>
#include <vector>

namespace bulkhead::sched {

struct Task;

class RunQueue {
 public:
  RunQueue() = default;
  RunQueue(const RunQueue&) = delete;
  RunQueue& operator=(const RunQueue&) = delete;

  void begin();  // of a run; `finished` is forgotten

  // From any thread. The task may run, and end, and the queue be destroyed, before these return.
  void add(Task& task);   // a new one: counted as alive
  void push(Task& task);  // one that is runnable again

  // Runnable at `task.deadline`.
  void push_timer(Task& task);

  void retire();  // a task has ended

  // The next task for the calling processor; waits for one. nullptr: the run is finished.
  Task* pop();

  std::uint64_t alive() const;
  // Takes the runnable ones out without running them (nothing else may be alive).
  std::vector<Task*> drain();

 private:
  struct Timer {
    base::TimePoint deadline;
    std::uint64_t order;  // of arrival: equal deadlines fire first come, first served
    Task* task;
  };
  struct Later {
    bool operator()(const Timer& a, const Timer& b) const {
      return a.deadline != b.deadline ? a.deadline > b.deadline : a.order > b.order;
    }
  };

  void append(Task& task) BULKHEAD_REQUIRES(mutex_);
  void wake_one() BULKHEAD_REQUIRES(mutex_);
  void fire_timers() BULKHEAD_REQUIRES(mutex_);

  mutable base::Mutex mutex_;
  std::condition_variable_any work_;  // idle processors wait here; notified under the lock
  Task* first_ BULKHEAD_GUARDED_BY(mutex_) = nullptr;
  Task* last_ BULKHEAD_GUARDED_BY(mutex_) = nullptr;
  std::vector<Timer> timers_ BULKHEAD_GUARDED_BY(mutex_);  // a heap, the earliest in front
  std::uint64_t timers_seen_ BULKHEAD_GUARDED_BY(mutex_) = 0;
  std::uint64_t alive_ BULKHEAD_GUARDED_BY(mutex_) = 0;
  unsigned idle_ BULKHEAD_GUARDED_BY(mutex_) = 0;
  bool finished_ BULKHEAD_GUARDED_BY(mutex_) = false;
};

}  // namespace bulkhead::sched
