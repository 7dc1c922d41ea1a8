// Who can be switched to: a processor's own thread, or a stack with a goroutine on it. What the
// sanitizers and the C++ runtime must be told about a switch is here.
#pragma once

#include <cstdint>

#include "sched/sanitizer.hpp"
#include "sched/stack.hpp"
#include "sched/switch.hpp"

namespace bulkhead::sched {

// What libstdc++ and libc++abi keep for each thread (Itanium C++ ABI, 2.2.2): the exceptions being
// handled, and the number in flight. It belongs to the goroutine, so it goes with it.
struct ExceptionState {
  void* caught = nullptr;
  unsigned int uncaught = 0;
  bool empty() const { return caught == nullptr && uncaught == 0; }
};

struct MachineContext {
  void* saved = nullptr;  // while it does not run
  ExceptionState exceptions;
  void* sanitizer_fiber = nullptr;
  sanitizer::StackInfo stack_info;
};

// A stack, and the record at its top: so a goroutine that has not started has neither. It runs
// goroutines one after another, and is in a cache in between.
struct Fiber : MachineContext {
  Stack stack;
  Fiber* next = nullptr;  // in a cache
};

}  // namespace bulkhead::sched
