// What the calling OS thread is to the scheduler.
//
// Read and written only by the functions below, which are never inlined: a goroutine goes on on
// another thread after a switch, but compilers compute the address of a thread-local variable once
// a function and keep it. They return values, never addresses (which could be folded just as well).
#pragma once

#include <bulkhead/sched/scheduler.hpp>

namespace bulkhead::sched {

struct Task;

struct ThreadState {
  Task* task = nullptr;          // the goroutine that runs on this thread
  Scheduler* entered = nullptr;  // by Enter, on a plain thread
  ThreadHost* host = nullptr;    // likewise; at most one of the two
  Tag entered_tag = kNoTag;
  Scheduler* owner = nullptr;  // whose processor this is
  int processor = -1;
};

ThreadState thread_state() noexcept;
void set_thread_state(const ThreadState& state) noexcept;

Task* current_task() noexcept;  // nullptr on a plain thread
void set_current_task(Task* task) noexcept;

}  // namespace bulkhead::sched
