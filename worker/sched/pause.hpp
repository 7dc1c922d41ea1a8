// Tells the CPU that this is a spin loop.
#pragma once

namespace bulkhead::sched {

inline void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace bulkhead::sched
