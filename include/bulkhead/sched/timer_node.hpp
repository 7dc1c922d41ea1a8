// A deadline in a scheduler's heap, for the primitives of this module.
#pragma once

#include <cstddef>

namespace bulkhead::sched {

// Lives where its owner wants it, and stays there while it is armed.
struct TimerNode {
  static constexpr std::size_t kNotArmed = ~std::size_t{0};

  // Called once at the deadline, on some processor's thread, under the heap's lock: must neither
  // block nor arm or disarm a timer.
  void (*fire)(TimerNode& node) = nullptr;
  const void* touches = nullptr;  // what fire() looks at first, or nullptr: is fetched ahead
  std::size_t place = kNotArmed;  // in the heap; guarded by its lock
};

}  // namespace bulkhead::sched
