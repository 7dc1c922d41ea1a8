#include <bulkhead/base/opaque.hpp>
#include <bulkhead/sched/scheduler.hpp>

#include "sched/processor.hpp"

constinit thread_local bulkhead::sched::ThreadState bulkhead::sched::bulkhead_thread_state;

namespace bulkhead::sched {

BULKHEAD_OPAQUE ThreadState thread_state() noexcept {
  asm volatile("" ::: "memory");
  return bulkhead_thread_state;
}

BULKHEAD_OPAQUE void set_thread_state(const ThreadState& to) noexcept {
  asm volatile("" ::: "memory");
  bulkhead_thread_state = to;
  asm volatile("" ::: "memory");
}

#if !defined(__x86_64__)
BULKHEAD_OPAQUE ProcessorHead* this_processor() noexcept {
  asm volatile("" ::: "memory");
  return bulkhead_thread_state.processor;
}
#endif

int current_processor() noexcept {
  const auto* const processor = static_cast<const Processor*>(this_processor());
  return processor == nullptr ? -1 : static_cast<int>(processor->index);
}

std::string_view current_task_name() noexcept {
  const Task* const task = current_task();
  const Particulars* const more = task == nullptr ? nullptr : particulars_of(*task);
  return more == nullptr ? std::string_view() : std::string_view(more->name);
}

StackBounds current_stack() noexcept {
  const auto* const processor = static_cast<const Processor*>(this_processor());
  if (processor == nullptr || processor->fiber == nullptr) return {};
  const Stack& stack = processor->fiber->stack;
  return {.low = reinterpret_cast<std::uintptr_t>(stack.low),
          .high = reinterpret_cast<std::uintptr_t>(stack.high),
          .guard_bytes = StackPool::kGuardBytes};
}

}  // namespace bulkhead::sched
