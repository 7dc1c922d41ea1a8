// Where stacks with a fiber on them come from, and go to: each processor keeps some, the scheduler
// has the others, and what is not needed for a while is given back to the system.
#include <algorithm>
#include <bit>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <new>
#include <utility>

#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {
constexpr std::uint32_t kFiberCache = 64;  // of a processor
constexpr std::size_t kTrimmedAtOnce = 64;
}  // namespace

Fiber& SchedulerImpl::take_fiber(Processor& processor, Task& task) {
  const Particulars* const more = particulars_of(task);
  if (more != nullptr && more->stack_bytes != 0) return make_fiber(pool_for(more->stack_bytes));
  if (Fiber* const fiber = processor.fibers) {
    processor.fibers = fiber->next;
    --processor.fiber_count;
    return *fiber;
  }
  {
    LockGuard guard(fibers_lock);
    if (Fiber* const fiber = fibers) {
      fibers = fiber->next;
      least_spare_fibers = std::min(least_spare_fibers, --spare_fibers);
      return *fiber;
    }
  }
  return make_fiber(stacks);
}

// Its first page is touched here.
Fiber& SchedulerImpl::make_fiber(StackPool& pool) {
  const int errno_before = errno;  // of the one that leaves; some kernels refuse a part of this
  const Stack stack = pool.acquire();
  errno = errno_before;
  // Coloured: the tops of all stacks would otherwise fall into the same sets of the caches.
  const std::uint64_t colour = colours.fetch_add(1, std::memory_order_relaxed) % 16;
  constexpr std::size_t kRecordBytes = (sizeof(Fiber) + 63) / 64 * 64;
  std::byte* const top = stack.high - colour * 64 - kRecordBytes;
  auto* const fiber = new (top) Fiber;
  fiber->stack = stack;
  fiber->pool = &pool == &stacks ? nullptr : &pool;
  fiber->stack_info = {.low = stack.usable_low(),
                       .bytes = static_cast<std::size_t>(top - stack.usable_low()),
                       .fake_frames = nullptr};
  fiber->saved = make_context<&fiber_entry>(top, fiber->stack_info.bytes);
  fiber->sanitizer_fiber = sanitizer::create_fiber();
  return *fiber;
}

// Sizes are powers of two, so that there are few pools.
StackPool& SchedulerImpl::pool_for(std::size_t stack_bytes) {
  const std::size_t bytes = std::bit_ceil(stack_bytes) * sanitizer::kStackFactor;
  LockGuard guard(fibers_lock);
  std::unique_ptr<StackPool>& pool = other_stacks[bytes];
  if (pool == nullptr) pool = std::make_unique<StackPool>(bytes, probe_stack_guard());
  return *pool;
}

void look_at_canary(const Fiber& fiber, const Task& task) {
  BULKHEAD_CHECK(StackPool::canary_whole(fiber.stack),
                 "goroutine {} (tag {}) overflowed its stack of {} bytes: give it more with "
                 "go({{.stack_bytes = …}}, …)",
                 task.id.load(std::memory_order_relaxed), task.tag.load(std::memory_order_relaxed),
                 fiber.stack.usable_bytes());
}

void SchedulerImpl::release_fiber(Processor& processor, Fiber& fiber) {
  if (fiber.pool != nullptr) return end_fiber(fiber, StackPool::Pages::kGiveBack);
  if (processor.fiber_count < kFiberCache) {
    fiber.next = std::exchange(processor.fibers, &fiber);
    ++processor.fiber_count;
    return;
  }
  LockGuard guard(fibers_lock);
  fiber.next = std::exchange(fibers, &fiber);
  ++spare_fibers;
}

void SchedulerImpl::end_fiber(Fiber& fiber, StackPool::Pages pages) {
  if (fiber.sanitizer_fiber != nullptr) sanitizer::destroy_fiber(fiber.sanitizer_fiber);
  StackPool& pool = fiber.pool != nullptr ? *fiber.pool : stacks;
  pool.release(fiber.stack, pages);  // the fiber lies on it
}

void SchedulerImpl::give_away_fibers(Processor& processor) {
  LockGuard guard(fibers_lock);
  while (Fiber* const fiber = processor.fibers) {
    processor.fibers = fiber->next;
    fiber->next = std::exchange(fibers, fiber);
    ++spare_fibers;
  }
  least_spare_fibers += std::exchange(processor.fiber_count, 0);  // nor were these needed
}

// As many as have lain there unused since the last call. A few at a time: others want the lock.
void SchedulerImpl::trim_fibers() {
  for (Fiber* taken = nullptr;;) {
    {
      LockGuard guard(fibers_lock);
      const std::size_t count = std::min(least_spare_fibers, kTrimmedAtOnce);
      least_spare_fibers -= count;
      spare_fibers -= count;
      for (std::size_t i = 0; i < count; ++i) {
        Fiber* const fiber = std::exchange(fibers, fibers->next);
        fiber->next = std::exchange(taken, fiber);
      }
      if (count == 0) {
        least_spare_fibers = spare_fibers;
        return;
      }
    }
    while (Fiber* const fiber = taken) {
      taken = fiber->next;
      end_fiber(*fiber, StackPool::Pages::kGiveBack);
    }
  }
}

void SchedulerImpl::end_all_fibers() {
  const auto end_list = [this](Fiber* first) {
    while (Fiber* const fiber = first) {
      first = fiber->next;
      end_fiber(*fiber, StackPool::Pages::kKeep);
    }
  };
  for (const auto& processor : processors) end_list(processor->fibers);
  LockGuard guard(fibers_lock);
  end_list(std::exchange(fibers, nullptr));
}

}  // namespace bulkhead::sched
