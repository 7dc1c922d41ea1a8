// Messages in a stream of bytes: four bytes of length, little-endian, then so many bytes. The
// length kGoodbyeLength has none: nothing follows. Used by every transport that carries a stream;
// written for a peer that may send anything.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace bulkhead::transport {

inline constexpr std::size_t kHeaderBytes = 4;
inline constexpr std::uint32_t kGoodbyeLength = 0xffffffff;

inline void put_header(char* to, std::uint32_t length) {
  for (int byte = 0; byte < 4; ++byte) to[byte] = static_cast<char>(length >> (8 * byte));
}

inline std::uint32_t get_header(const char* from) {
  std::uint32_t length = 0;
  for (int byte = 0; byte < 4; ++byte)
    length |= std::uint32_t{static_cast<unsigned char>(from[byte])} << (8 * byte);
  return length;
}

// Where a stream is read to and taken apart. Memory grows only as bytes arrive, never because a
// header says so, and shrinks again after a large message.
class FrameReader {
 public:
  enum class Next : std::uint8_t { kMessage, kMore, kGoodbye, kBroken };

  explicit FrameReader(std::size_t max_message_bytes) : max_message_bytes_(max_message_bytes) {}

  // The next whole message, valid until room() or next(); kMore: read more first. After kGoodbye
  // and kBroken, the same for ever.
  Next next(std::string_view& message) {
    if (over_) return *over_;
    const std::size_t held = end_ - begin_;
    if (held < kHeaderBytes) return Next::kMore;
    const std::uint32_t length = get_header(buffer_.get() + begin_);
    if (length > max_message_bytes_) {
      refused_ = length;
      over_ = length == kGoodbyeLength ? Next::kGoodbye : Next::kBroken;
      return *over_;
    }
    if (held - kHeaderBytes < length) return Next::kMore;
    message = {buffer_.get() + begin_ + kHeaderBytes, length};
    begin_ += kHeaderBytes + length;
    largest_ = std::max<std::size_t>(largest_, kHeaderBytes + length);
    return Next::kMessage;
  }

  // Room for at least one byte, mostly for kChunk of them; `size` says how much.
  char* room(std::size_t& size);
  void commit(std::size_t size) {
    end_ += size;
    rounds_ += size > 0 ? 1 : 0;
  }

  // Of a message that has begun, bytes are here.
  bool in_message() const { return end_ != begin_; }
  std::string why_broken() const;

 private:
  static constexpr std::size_t kChunk = 64u << 10;
  static constexpr unsigned kRounds = 256;  // after so many, too much memory is given back

  void resize(std::size_t capacity);

  const std::size_t max_message_bytes_;
  std::unique_ptr<char[]> buffer_;
  std::size_t capacity_ = 0;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
  std::size_t largest_ = 0;  // message, header included, in these rounds
  unsigned rounds_ = 0;
  std::optional<Next> over_;
  std::uint32_t refused_ = 0;  // the length
};

}  // namespace bulkhead::transport
