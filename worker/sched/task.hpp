// A goroutine, from go() until its body has returned. Owned by the scheduler; in at most one queue
// at a time, which its state names (TaskInfo::State).
#pragma once

#include <atomic>
#include <bulkhead/sched/scheduler.hpp>
#include <functional>

#include "sched/fiber.hpp"
#include "sched/stack.hpp"

namespace bulkhead::sched {

// What a goroutine asks of its processor as it switches out. The processor does it when the context
// is saved, and only from then on may another processor find the goroutine and run it.
enum class Leaving : std::uint8_t {
  kYield,  // to the back of the run queue
  kPark,   // release `unlock`, the lock of the waiter list that it is in
  kSleep,  // into the timer heap, until `deadline`
  kEnd,
};

struct Task {
  // Fixed after construction.
  Scheduler::Impl* scheduler = nullptr;
  std::uint64_t id = 0;
  Tag tag = kNoTag;

  // Owned by whoever runs the task; handed on with it through a queue's lock.
  std::function<void()> body;
  Fiber fiber;
  Stack stack;  // empty until the first run: a task that has not started holds no stack
  Leaving leaving = Leaving::kEnd;
  Lock* unlock = nullptr;
  base::TimePoint deadline;

  // Guarded by the run queue.
  Task* next_runnable = nullptr;

  // Guarded by the registry's lock.
  Task* older = nullptr;
  Task* younger = nullptr;

  // Atomic because dumps read them at any time; relaxed, since nothing else hangs on them.
  std::atomic<TaskInfo::State> state{TaskInfo::State::kRunnable};
  std::atomic<ParkReason> reason{ParkReason::kNone};

  void set_state(TaskInfo::State to) { state.store(to, std::memory_order_relaxed); }
};

// Both on the running goroutine's side; return when it runs again, maybe on another thread.
void switch_out(Task& self, Leaving leaving, ParkReason reason);
void park_task(Task& self, Lock& lock, ParkReason reason);
// Makes a parked task runnable; it may end before this returns.
void unpark_task(Task& task);

}  // namespace bulkhead::sched
