// Fixed-width numbers of the framing, the same bytes on every machine.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace bulkhead::wire {

inline void append_u32(std::string& to, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8) {
    to.push_back(static_cast<char>(static_cast<unsigned char>(value >> shift)));
  }
}

// The first four of `bytes`, which has at least four.
inline std::uint32_t read_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (std::size_t i = 4; i > 0; --i) {
    value = (value << 8) | static_cast<unsigned char>(bytes[i - 1]);
  }
  return value;
}

}  // namespace bulkhead::wire
