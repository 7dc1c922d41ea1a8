// Stacks for goroutines: cut from slabs, guarded, and kept for reuse until the pool is destroyed.
// Their pages are kept, too (the first touch of a fresh one costs ten goroutine starts), unless
// they are told to be given back.
//
//   low          guard (kGuardBytes)          low + guard        usable          high
#pragma once

#include <bulkhead/base/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstddef>
#include <vector>

namespace bulkhead::sched {

struct Stack {
  std::byte* low = nullptr;   // of the guard
  std::byte* high = nullptr;  // one past the highest
  StackGuard guard = StackGuard::kCanary;

  std::byte* usable_low() const;
  std::size_t usable_bytes() const;
};

class StackPool {
 public:
  // Four pages, so that a frame with a medium-sized array does not step over the guard.
  static constexpr std::size_t kGuardBytes = 16 * 1024;

  // `usable_bytes` is rounded up to pages. `best` is the best guard to try: others are fallbacks.
  StackPool(std::size_t usable_bytes, StackGuard best);
  ~StackPool();  // every stack has been given back
  StackPool(const StackPool&) = delete;
  StackPool& operator=(const StackPool&) = delete;

  // From any thread. Out of memory ends the process: a goroutine cannot be refused half-way.
  Stack acquire();
  enum class Pages { kKeep, kGiveBack };
  void release(Stack stack, Pages pages = Pages::kKeep);

  // True while the canary below the stack is whole; always true where a page guards it.
  static bool canary_whole(const Stack& stack);

 private:
  void add_slab() BULKHEAD_REQUIRES(mutex_);
  StackGuard install_guard(std::byte* low);

  const std::size_t stack_bytes_;  // guard included
  const StackGuard best_;

  base::Mutex mutex_;
  std::vector<Stack> free_ BULKHEAD_GUARDED_BY(mutex_);  // a stack: the warmest goes first
  std::vector<std::byte*> slabs_ BULKHEAD_GUARDED_BY(mutex_);
  std::size_t slab_used_ BULKHEAD_GUARDED_BY(mutex_);  // stacks cut from the last slab
  std::size_t protected_ BULKHEAD_GUARDED_BY(mutex_) = 0;
  std::size_t given_out_ BULKHEAD_GUARDED_BY(mutex_) = 0;
};

}  // namespace bulkhead::sched
