// The context switch: a function on a stack of its own, resumed by a processor's thread (its host)
// and suspended from inside. All knowledge of Boost.Context, the sanitizers' fibers and the C++
// runtime's exception state is here.
//
// A fiber may be resumed by another thread each time. So nothing here reads thread-local variables
// on the fiber's side: the exception state is swapped by the host, which never changes its thread.
#pragma once

#include "sched/sanitizer.hpp"
#include "sched/stack.hpp"

namespace bulkhead::sched {

// The side that resumes; one per processor, used on one thread.
struct FiberHost {
  void* sanitizer_fiber = nullptr;  // the thread's own; set before the first resume()
  sanitizer::StackInfo stack;       // learnt at each switch
};

// What libstdc++ and libc++abi keep for each thread (Itanium C++ ABI, 2.2.2): the exceptions being
// handled, and the number in flight.
struct ExceptionState {
  void* caught = nullptr;
  unsigned int uncaught = 0;
};

class Fiber {
 public:
  using Entry = void (*)(void* argument);

  Fiber() = default;
  ~Fiber();  // never started, or ended
  Fiber(const Fiber&) = delete;
  Fiber& operator=(const Fiber&) = delete;

  // `entry` runs at the first resume() and leaves by exit(), never by returning or by an exception.
  void prepare(const Stack& stack, Entry entry, void* argument);

  // On the host's thread: runs the fiber until it suspends or exits.
  void resume(FiberHost& host);

  // Inside the fiber: back to the host. Returns at the next resume(), maybe on another thread.
  void suspend();
  [[noreturn]] void exit();

 private:
  friend struct FiberEntry;

  void* context_ = nullptr;       // where resume() goes on; valid while suspended
  void* host_context_ = nullptr;  // where suspend() goes on; valid while running
  FiberHost* host_ = nullptr;     // who resumed it last
  Entry entry_ = nullptr;
  void* argument_ = nullptr;
  void* sanitizer_fiber_ = nullptr;
  sanitizer::StackInfo stack_;
  ExceptionState exceptions_;
};

}  // namespace bulkhead::sched
