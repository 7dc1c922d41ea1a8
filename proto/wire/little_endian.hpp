// Fixed-width numbers of the framing, the same bytes on every machine.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>

namespace bulkhead::wire {

template <class Number>
void append_number(std::string& to, Number value) {
  std::array<char, sizeof value> bytes;  // one store, where the machine's order is that
  for (std::size_t i = 0; i < sizeof value; ++i)
    bytes[i] = static_cast<char>(static_cast<unsigned char>(value >> (8 * i)));
  to.append(bytes.data(), bytes.size());
}

// The first bytes of `bytes`, which has enough of them.
template <class Number>
Number read_number(std::string_view bytes) {
  Number value = 0;
  for (std::size_t i = sizeof value; i > 0; --i)
    value = static_cast<Number>(value << 8) | static_cast<unsigned char>(bytes[i - 1]);
  return value;
}

inline void append_u32(std::string& to, std::uint32_t value) { append_number(to, value); }
inline void append_u64(std::string& to, std::uint64_t value) { append_number(to, value); }
inline std::uint32_t read_u32(std::string_view bytes) { return read_number<std::uint32_t>(bytes); }
inline std::uint64_t read_u64(std::string_view bytes) { return read_number<std::uint64_t>(bytes); }

}  // namespace bulkhead::wire
