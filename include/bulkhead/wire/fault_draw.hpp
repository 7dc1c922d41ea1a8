// Which jobs a fault by rate strikes: drawn from the seed alone, so that every model, and every
// incarnation of every worker, suffers the same.
#pragma once

#include <bulkhead/base/split_mix.hpp>
#include <cstdint>

namespace bulkhead::wire {

// SplitMix64 of seed, fault and job; the upper 53 bits against `rate`.
constexpr bool draws_fault(std::uint64_t seed, std::uint32_t fault, std::uint64_t job,
                           double rate) {
  const std::uint64_t drawn =
      base::split_mix(seed + base::kSplitMixStep * (job + 1) + 0xd1342543de82ef95 * (fault + 1ull));
  return static_cast<double>(drawn >> 11) * 0x1p-53 < rate;
}

}  // namespace bulkhead::wire
