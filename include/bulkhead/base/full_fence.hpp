// For two that each store a word and then look at the other's: at least one of them sees the other.
#pragma once

#include <atomic>
#include <bulkhead/base/sanitizers.hpp>

namespace bulkhead::base {

// What is stored before it is visible to all before what is loaded after it is read.
inline void full_fence() {
#if defined(BULKHEAD_TSAN)
  static std::atomic<int> word{0};  // TSan does not understand fences
  word.fetch_add(1, std::memory_order_seq_cst);
#else
  std::atomic_thread_fence(std::memory_order_seq_cst);
#endif
}

}  // namespace bulkhead::base
