#include "sched/thread_state.hpp"

#include <bulkhead/base/opaque.hpp>

#include "sched/task.hpp"

namespace bulkhead::sched {
namespace {

// initial-exec: no lazy allocation on first use, which a signal handler could not survive.
[[gnu::tls_model("initial-exec")]] constinit thread_local ThreadState state;

}  // namespace

BULKHEAD_OPAQUE ThreadState thread_state() noexcept {
  asm volatile("" ::: "memory");
  return state;
}

BULKHEAD_OPAQUE void set_thread_state(const ThreadState& to) noexcept {
  asm volatile("" ::: "memory");
  state = to;
}

BULKHEAD_OPAQUE Task* current_task() noexcept {
  asm volatile("" ::: "memory");
  return state.task;
}

BULKHEAD_OPAQUE void set_current_task(Task* task) noexcept {
  state.task = task;
  asm volatile("" ::: "memory");  // before the switch that follows, for signal handlers
}

BULKHEAD_OPAQUE int current_processor() noexcept {
  asm volatile("" ::: "memory");
  return state.processor;
}

BULKHEAD_OPAQUE StackBounds current_stack() noexcept {
  asm volatile("" ::: "memory");
  const Task* const task = state.task;
  if (task == nullptr) return {};
  return {.low = reinterpret_cast<std::uintptr_t>(task->stack.low),
          .high = reinterpret_cast<std::uintptr_t>(task->stack.high),
          .guard_bytes = StackPool::kGuardBytes};
}

}  // namespace bulkhead::sched
