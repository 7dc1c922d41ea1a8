// Where small messages gather until they leave together.
#pragma once

#include <cstddef>
#include <cstring>
#include <memory>
#include <string_view>
#include <utility>

namespace bulkhead::transport {

class GatherBuffer {
 public:
  explicit GatherBuffer(std::size_t capacity) : capacity_(capacity), bytes_(new char[capacity]) {}

  // Room for so many, contiguous, until the next call; nullptr: too much is waiting.
  char* reserve(std::size_t size) {
    if (begin_ == end_) begin_ = end_ = 0;
    if (capacity_ - end_ < size && begin_ > 0) {
      std::memmove(bytes_.get(), bytes_.get() + begin_, end_ - begin_);
      end_ -= std::exchange(begin_, 0);
    }
    return capacity_ - end_ < size ? nullptr : bytes_.get() + end_;
  }
  // So many have been written there.
  void commit(std::size_t size) { end_ += size; }

  // What is to leave.
  std::string_view waiting() const { return {bytes_.get() + begin_, end_ - begin_}; }
  // So many of it have left.
  void take(std::size_t size) { begin_ += size; }

 private:
  const std::size_t capacity_;
  const std::unique_ptr<char[]> bytes_;
  std::size_t begin_ = 0;
  std::size_t end_ = 0;
};

}  // namespace bulkhead::transport
