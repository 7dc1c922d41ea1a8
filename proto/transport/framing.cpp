#include "proto/transport/framing.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

namespace bulkhead::transport {

char* FrameReader::room(std::size_t& size) {
  const std::size_t held = end_ - begin_;
  if (held == 0) begin_ = end_ = 0;
  if (held == 0 && rounds_ >= kRounds) {
    if (2 * largest_ < capacity_) resize(std::max(kChunk, largest_));
    rounds_ = 0;
    largest_ = 0;
  }
  if (capacity_ == 0) resize(kChunk);
  if (capacity_ - end_ < kChunk / 2) {
    // The rest of this message; beyond what has arrived only by doubling.
    const std::size_t whole =
        held < kHeaderBytes ? 0 : kHeaderBytes + get_header(buffer_.get() + begin_);
    if (whole > capacity_) {
      resize(std::min(whole, 2 * capacity_));
    } else if (begin_ > 0) {
      std::memmove(buffer_.get(), buffer_.get() + begin_, held);
      begin_ = 0;
      end_ = held;
    }
  }
  size = capacity_ - end_;
  return buffer_.get() + end_;
}

void FrameReader::resize(std::size_t capacity) {
  const std::size_t held = end_ - begin_;
  std::unique_ptr<char[]> larger(new char[capacity]);  // without touching it
  if (held > 0) std::memcpy(larger.get(), buffer_.get() + begin_, held);
  buffer_ = std::move(larger);
  capacity_ = capacity;
  begin_ = 0;
  end_ = held;
}

std::string FrameReader::why_broken() const {
  if (over_ != Next::kBroken) return {};
  return fmt::format("announced a message of {} bytes; at most {} can come", refused_,
                     max_message_bytes_);
}

}  // namespace bulkhead::transport
