// Which jobs a fault by rate strikes: drawn from the seed alone, so that every model, and every
// incarnation of every worker, suffers the same.
#pragma once

#include <cstdint>

namespace bulkhead::wire {

// SplitMix64 (Steele, Lea, Flood 2014) of seed, fault and job; the upper 53 bits against `rate`.
constexpr bool draws_fault(std::uint64_t seed, std::uint32_t fault, std::uint64_t job,
                           double rate) {
  std::uint64_t z = seed + 0x9e3779b97f4a7c15 * (job + 1) + 0xd1342543de82ef95 * (fault + 1ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
  z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
  z ^= z >> 31;
  return static_cast<double>(z >> 11) * 0x1p-53 < rate;
}

}  // namespace bulkhead::wire
