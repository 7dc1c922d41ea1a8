// What this machine and this process allow a run to take.
#pragma once

#include <bulkhead/transport/connection.hpp>
#include <cstdint>
#include <vector>

namespace bulkhead::coordinator {

inline constexpr std::uint64_t kReservedDescriptors = 64;
// That the coordinator has open for a worker of an isolated model, over the costliest of these
// transports.
std::uint64_t descriptors_per_worker(const std::vector<transport::Kind>& transports);

// Raises the soft limit to the hard one.
std::uint64_t descriptor_limit();

}  // namespace bulkhead::coordinator
