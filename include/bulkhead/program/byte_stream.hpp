// The basic items of codec.hpp as bytes: unsigned numbers as little-endian base-128 varints, signed
// ones zigzag first, floating point as 8 bytes little-endian, strings behind their length.
#pragma once

#include <bit>
#include <cstdint>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>

namespace bulkhead::program {

// Structs and containers inside one another; a goroutine's stack is small.
inline constexpr unsigned kMaxNesting = 100;

class Writer {
 public:
  Writer() = default;
  // Writes from the beginning of `room`, whose allocation is used again.
  explicit Writer(std::string&& room) : bytes_(std::move(room)) { bytes_.clear(); }

  void varint(std::uint64_t value) {
    if (value < 0x80) {  // most counts and lengths
      bytes_.push_back(static_cast<char>(value));
      return;
    }
    char buffer[10];
    std::size_t used = 0;
    while (value >= 0x80) {
      buffer[used++] = static_cast<char>(value | 0x80);
      value >>= 7;
    }
    buffer[used++] = static_cast<char>(value);
    bytes_.append(buffer, used);
  }
  void zigzag(std::int64_t value) {
    const auto bits = static_cast<std::uint64_t>(value);
    varint((bits << 1) ^ (value < 0 ? ~std::uint64_t{0} : 0));
  }
  void real(double value) {
    auto bits = std::bit_cast<std::uint64_t>(value);
    char buffer[8];
    for (char& byte : buffer) {
      byte = static_cast<char>(bits & 0xff);
      bits >>= 8;
    }
    bytes_.append(buffer, sizeof buffer);
  }
  void string(std::string_view value) {
    varint(value.size());
    bytes_.append(value);
  }

  // Around what nests. Throws std::length_error for a value that no reader would take.
  void enter() {
    if (++nesting_ > kMaxNesting)
      throw std::length_error("a value to encode nests deeper than 100 levels");
  }
  void leave() { --nesting_; }

  void reserve(std::size_t bytes) { bytes_.reserve(bytes_.size() + bytes); }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
  unsigned nesting_ = 0;
};

// Reads what Writer wrote. The first malformed item makes it not ok() for good: from then on it
// yields zeros and empty strings. Views point into the bytes given.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : next_(bytes.data()), left_(bytes.size()) {}

  bool ok() const { return ok_; }
  std::size_t left() const { return left_; }
  void refuse() {
    ok_ = false;
    left_ = 0;
  }

  std::uint64_t varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; left_ > 0 && shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(*next_);
      ++next_;
      --left_;
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte >= 0x80) continue;
      // The tenth byte holds one bit; a zero after the first byte is a longer form of a number.
      if ((shift == 63 && byte > 1) || (shift > 0 && byte == 0)) break;
      return value;
    }
    refuse();
    return 0;
  }
  std::int64_t zigzag() {
    const std::uint64_t bits = varint();
    return static_cast<std::int64_t>((bits >> 1) ^ ((bits & 1) != 0 ? ~std::uint64_t{0} : 0));
  }
  double real() {
    const std::string_view bytes = raw(8);
    std::uint64_t bits = 0;
    for (std::size_t i = bytes.size(); i-- > 0;)
      bits = bits << 8 | static_cast<unsigned char>(bytes[i]);
    return std::bit_cast<double>(bits);
  }
  std::string_view string() { return raw(varint()); }

  // A number of items to follow, each of at least one byte.
  std::size_t count() {
    const std::uint64_t value = varint();
    if (value <= left_) return static_cast<std::size_t>(value);
    refuse();
    return 0;
  }

  void enter() {
    if (++nesting_ > kMaxNesting) refuse();
  }
  void leave() { --nesting_; }

 private:
  std::string_view raw(std::uint64_t size) {
    if (size > left_) {
      refuse();
      return {};
    }
    const std::string_view view(next_, static_cast<std::size_t>(size));
    next_ += view.size();
    left_ -= view.size();
    return view;
  }

  const char* next_;
  std::size_t left_;
  bool ok_ = true;
  unsigned nesting_ = 0;
};

}  // namespace bulkhead::program
