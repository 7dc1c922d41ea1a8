// A stream socket of this machine: what is sent gathers in a buffer and leaves with one system call
// for all of it.
#pragma once

#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <memory>

#include "proto/transport/gather_buffer.hpp"
#include "proto/transport/stream_connection.hpp"

namespace bulkhead::transport {

// The Stream of stream_connection.hpp.
class UnixStream {
 public:
  static constexpr bool kIsMemory = false;
  static constexpr bool kTellsWakers = false;
  static constexpr std::size_t kMostContiguous = 32u << 10;
  static constexpr std::size_t kBatchBytes = 32u << 10;

  // `socket` is connected and non-blocking.
  UnixStream(base::UniqueFd socket, std::size_t window_bytes);

  char* reserve(std::size_t size) { return buffer_.reserve(size); }
  void commit(std::size_t size) { buffer_.commit(size); }
  std::size_t unflushed() const { return buffer_.waiting().size(); }
  Outcome flush();
  std::size_t write(std::string_view first, std::string_view second);
  bool cut() const { return cut_; }

  std::size_t read(char* to, std::size_t size);
  bool ended() const { return ended_; }

  std::optional<Signal> prepare_to_wait(Side side, Waker&) {
    const bool sends = side == Side::kSender;
    return Signal{.fd = socket_.get(), .writable = sends, .standing = !sends};
  }
  bool cancel_wait(Side) { return true; }
  std::string broken() const { return {}; }

 private:
  const base::UniqueFd socket_;
  // The sender's.
  GatherBuffer buffer_;
  bool cut_ = false;
  // The receiver's.
  bool drained_ = false;  // the last read took all that there was
  bool ended_ = false;
};

using UnixConnection = StreamConnection<UnixStream>;

}  // namespace bulkhead::transport
