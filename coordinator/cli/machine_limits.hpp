// What this machine and this process allow a run to take.
#pragma once

#include <cstdint>

namespace bulkhead::coordinator {

inline constexpr std::uint64_t kReservedDescriptors = 64;
inline constexpr std::uint64_t kDescriptorsPerWorker = 8;

// Raises the soft limit to the hard one.
std::uint64_t descriptor_limit();

}  // namespace bulkhead::coordinator
