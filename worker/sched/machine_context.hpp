// Who can be switched to: a processor's own thread, or a stack with a goroutine on it. What the
// sanitizers and the C++ runtime must be told about a switch is here.
#pragma once

#include <atomic>
#include <bulkhead/sched/task.hpp>
#include <cstdint>
#include <utility>

#include "sched/sanitizer.hpp"
#include "sched/stack.hpp"
#include "sched/switch.hpp"

namespace bulkhead::sched {

// What libstdc++ and libc++abi keep for each thread (Itanium C++ ABI, 2.2.2): the exceptions being
// handled, and the number in flight.
struct ExceptionState {
  void* caught;
  unsigned int uncaught;
};

// One branch: each switch asks twice, and mostly all are zero.
inline bool all_zero(const void* caught, unsigned int uncaught, int errno_value) {
  return (reinterpret_cast<std::uintptr_t>(caught) | uncaught |
          static_cast<unsigned int>(errno_value)) == 0;
}

// What the libraries keep for a thread and belongs to the goroutine: it goes with it.
struct LibraryState {
  void* caught = nullptr;
  unsigned int uncaught = 0;
  int errno_value = 0;

  bool empty() const { return all_zero(caught, uncaught, errno_value); }
};

// Where a thread has it.
struct LibraryPlace {
  ExceptionState* exceptions = nullptr;
  int* errno_location = nullptr;

  bool empty() const { return all_zero(exceptions->caught, exceptions->uncaught, *errno_location); }
  void take(LibraryState& to) const {  // leaves nothing
    to.caught = std::exchange(exceptions->caught, nullptr);
    to.uncaught = std::exchange(exceptions->uncaught, 0u);
    to.errno_value = std::exchange(*errno_location, 0);
  }
  void put(LibraryState& from) const {
    exceptions->caught = std::exchange(from.caught, nullptr);
    exceptions->uncaught = std::exchange(from.uncaught, 0u);
    *errno_location = std::exchange(from.errno_value, 0);
  }
};

struct MachineContext {
  void* saved = nullptr;  // while it does not run
  LibraryState library;   // likewise
  void* sanitizer_fiber = nullptr;
  sanitizer::StackInfo stack_info;
};

// What its goroutine waits for, or last did. Atomic, relaxed, because dumps read it at any time;
// beside the saved stack pointer, which a park writes, too.
struct ParkRecord {
  // The primitive, and in its lowest bit whether that is a Mutex; or a descriptor, by
  // of_descriptor(). In one word, so that a dump never takes anything else for one.
  std::atomic<std::uintptr_t> object{0};
  std::atomic<const char*> file{nullptr};
  std::atomic<std::int64_t> since_ns{0};
  std::atomic<std::uint16_t> line{0};

  static constexpr std::uintptr_t kMutexBit = 1;
  static constexpr std::uintptr_t kDescriptorBit = 2;
  static constexpr int kDescriptorShift = 2;

  static const void* of_descriptor(int fd) {
    return reinterpret_cast<const void*>(static_cast<std::uintptr_t>(fd) << kDescriptorShift |
                                         kDescriptorBit);
  }

  void set(const Wait& wait, std::int64_t now_ns) {
    object.store(reinterpret_cast<std::uintptr_t>(wait.object) |
                     (wait.reason == ParkReason::kMutex ? kMutexBit : 0),
                 std::memory_order_relaxed);
    file.store(wait.site.file, std::memory_order_relaxed);
    line.store(wait.site.line, std::memory_order_relaxed);
    since_ns.store(now_ns, std::memory_order_relaxed);
  }
};

// A stack, and the record at its top: so a goroutine that has not started has neither. It runs
// goroutines one after another, and is in a cache in between.
struct Fiber : MachineContext {
  ParkRecord park;
  Stack stack;
  StackPool* pool = nullptr;  // nullptr: the scheduler's usual one
  Fiber* next = nullptr;      // in a cache
  // Of its goroutine, if that has such marks:
  unsigned left = 0;         // the processor that it ran on last
  std::uint32_t events = 0;  // how many of it the trace has got after its go()
};

// Ends the process when the canary under its stack has been overwritten; only where there is one.
void look_at_canary(const Fiber& fiber, const Task& task);

}  // namespace bulkhead::sched
