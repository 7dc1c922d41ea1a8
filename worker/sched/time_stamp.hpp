// A clock that costs little: of the processor's own unit, and some 10^9 a second.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <cstdint>

#if defined(__x86_64__)
#include <x86intrin.h>
#endif

namespace bulkhead::sched {

inline std::uint64_t time_stamp() {
#if defined(__x86_64__)
  return __rdtsc();
#else
  return static_cast<std::uint64_t>(base::monotonic_ns()) * 3;
#endif
}

}  // namespace bulkhead::sched
