// SplitMix64's mixing step (Steele, Lea, Flood 2014): of numbers that differ little, ones that
// differ in half their bits. A sequence is its values at the multiples of kSplitMixStep.
#pragma once

#include <cstdint>

namespace bulkhead::base {

inline constexpr std::uint64_t kSplitMixStep = 0x9e3779b97f4a7c15;

constexpr std::uint64_t split_mix(std::uint64_t number) {
  number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9;
  number = (number ^ (number >> 27)) * 0x94d049bb133111eb;
  return number ^ (number >> 31);
}

}  // namespace bulkhead::base
