// The chain of frame pointers of a stack that a signal has interrupted. Async-signal-safe.
#pragma once

#include <sys/types.h>
#include <ucontext.h>

#include <bulkhead/base/sanitizers.hpp>
#include <cstddef>
#include <cstdint>

namespace bulkhead::base {

// Where a walk begins: registers of the interrupted context; zeros on machines that we do not know.
struct FrameStart {
  std::uintptr_t instruction = 0;
  std::uintptr_t frame = 0;
};

inline FrameStart frame_start(const void* ucontext) {
  const auto& machine = static_cast<const ucontext_t*>(ucontext)->uc_mcontext;
#if defined(__x86_64__)
  return {static_cast<std::uintptr_t>(machine.gregs[REG_RIP]),
          static_cast<std::uintptr_t>(machine.gregs[REG_RBP])};
#elif defined(__aarch64__)
  return {machine.pc, machine.regs[29]};
#else
  static_cast<void>(machine);
  return {};
#endif
}

// Return addresses, the interrupted instruction first, as far as the chain stays inside
// [low, high): it is garbage inside code built without frame pointers. Answers how many.
template <class Address>
#if defined(BULKHEAD_ASAN)
__attribute__((no_sanitize("address")))
#endif
std::uint32_t
walk_frames(const FrameStart& start, std::uintptr_t low, std::uintptr_t high, Address* frames,
            std::size_t most) {
  std::uint32_t count = 0;
  frames[count++] = start.instruction;
  std::uintptr_t frame = start.frame;
  while (count < most && frame >= low && frame + 2 * sizeof(std::uintptr_t) <= high &&
         frame % sizeof(std::uintptr_t) == 0) {
    const auto* const words = reinterpret_cast<const std::uintptr_t*>(frame);
    if (words[1] == 0) break;
    frames[count++] = words[1];
    if (words[0] <= frame) break;
    frame = words[0];
  }
  return count;
}

}  // namespace bulkhead::base
