// Stacks for goroutines: cut from slabs, guarded, and kept for reuse until the pool is destroyed.
// Their pages are kept, too (the first touch of a fresh one costs ten goroutine starts), unless
// they are told to be given back.
//
//   low          guard (kGuardBytes)          low + guard        usable          high
#pragma once

#include <array>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace bulkhead::sched {

struct Stack {
  std::byte* low = nullptr;   // of the guard
  std::byte* high = nullptr;  // one past the highest
  StackGuard guard = StackGuard::kCanary;
  std::uint32_t slab = 0;  // of its pool

  std::byte* usable_low() const;
  std::size_t usable_bytes() const;
};

class StackPool {
 public:
  // Four pages, so that a frame with a medium-sized array does not step over the guard.
  static constexpr std::size_t kGuardBytes = 16 * 1024;
  static constexpr std::size_t kStacksPerSlab = 64;

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
  // Memory for some stacks. Those without pages are told by a bit, so that a million of them take
  // no memory to speak of.
  struct Slab {
    std::byte* low = nullptr;
    std::uint64_t cold = 0;  // a bit for each that was given back with its pages
    bool guarded = false;    // all of its stacks
    std::array<StackGuard, kStacksPerSlab> guards{};
  };

  void add_slab() BULKHEAD_REQUIRES(mutex_);
  Stack cut(std::uint32_t slab, std::uint32_t place) const BULKHEAD_REQUIRES(mutex_);
  StackGuard install_guard(std::byte* low);

  const std::size_t stack_bytes_;  // guard included
  const StackGuard best_;

  base::Mutex mutex_;
  // Free, with their pages: the last goes first.
  std::vector<Stack> warm_ BULKHEAD_GUARDED_BY(mutex_);
  std::vector<Slab> slabs_ BULKHEAD_GUARDED_BY(mutex_);
  std::vector<std::uint32_t> cold_ BULKHEAD_GUARDED_BY(mutex_);  // slabs that have cold ones
  std::size_t slab_used_ BULKHEAD_GUARDED_BY(mutex_);            // stacks cut from the last slab
  std::size_t protected_ BULKHEAD_GUARDED_BY(mutex_) = 0;
  std::size_t given_out_ BULKHEAD_GUARDED_BY(mutex_) = 0;
};

}  // namespace bulkhead::sched
