// Time. All intervals come from CLOCK_MONOTONIC, which every process of a machine shares.
#pragma once

#include <chrono>
#include <cstdint>

namespace bulkhead::base {

using Clock = std::chrono::steady_clock;
using TimePoint = Clock::time_point;
using Duration = std::chrono::nanoseconds;

inline std::int64_t monotonic_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch())
      .count();
}

inline double to_seconds(Duration duration) {
  return std::chrono::duration<double>(duration).count();
}

}  // namespace bulkhead::base
