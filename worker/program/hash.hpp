// Digests that are the same in every process and build: checksums of answers, names of
// descriptions.
#pragma once

#include <fmt/format.h>

#include <cstdint>
#include <string>
#include <string_view>

namespace bulkhead::program {

// Every bit of `value` reaches every bit of the outcome; a bijection.
constexpr std::uint64_t mix(std::uint64_t value) {
  value ^= value >> 31;
  value *= 0xd6e8feb86659fd93;
  value ^= value >> 29;
  value *= 0xa0761d6478bd642f;
  value ^= value >> 32;
  return value;
}

// A digest of 128 bits of bytes that come in any portions.
class Digest {
 public:
  void add(std::string_view bytes) {
    std::uint64_t a = a_;
    std::uint64_t b = b_;
    for (const char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      a = (a ^ byte) * 0x00000100000001b3;
      b = (b + byte + 1) * 0x9e3779b97f4a7c15;
      b ^= b >> 47;
    }
    a_ = a;
    b_ = b;
    length_ += bytes.size();
  }
  std::uint64_t high() const { return mix(a_ ^ mix(length_)); }
  std::uint64_t low() const { return mix(b_ + length_); }
  std::uint64_t fold() const { return mix(high() + 3 * low()); }

 private:
  std::uint64_t a_ = 0xcbf29ce484222325;
  std::uint64_t b_ = 0x2545f4914f6cdd1d;
  std::uint64_t length_ = 0;
};

inline std::uint64_t digest_of(std::string_view bytes) {
  Digest digest;
  digest.add(bytes);
  return digest.fold();
}

inline std::string hex16(std::uint64_t value) { return fmt::format("{:016x}", value); }

}  // namespace bulkhead::program
