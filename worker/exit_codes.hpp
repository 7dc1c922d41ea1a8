// What a worker's process ends with, beside 0 and the signals.
#pragma once

namespace bulkhead::worker {

inline constexpr int kExitUsage = 2;
inline constexpr int kExitHandshake = 64;  // refused, or no answer in time
inline constexpr int kExitInternal = 70;
inline constexpr int kExitCoordinatorGone = 75;  // EX_TEMPFAIL

}  // namespace bulkhead::worker
