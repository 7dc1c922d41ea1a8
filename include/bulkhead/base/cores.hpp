// What this process may run on.
#pragma once

#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>

namespace bulkhead::base {

// Of the calling thread: a container or taskset may have cut it below the machine's. At least 1.
inline std::uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
  // More cores than the set has bits.
  return static_cast<std::uint32_t>(std::max(1L, ::sysconf(_SC_NPROCESSORS_ONLN)));
}

}  // namespace bulkhead::base
