// A Connection over a stream of bytes, whatever carries it. What differs between transports is the
// Stream:
//
//   char* reserve(size)        room for a small message, contiguous; nullptr: none now
//   void commit(size)          so much of it is written
//   size_t unflushed()         bytes committed that are not on their way
//   Outcome flush()            kDone, kWait (some are left)
//   size_t write(a, b)         as much of both as there is room for; 0: none
//   bool cut()                 what is sent would reach nobody
//   size_t read(to, size)      0: nothing is there
//   bool ended()               nothing more will come, but for what a last read() may still give.
//                              Asked after one that gave 0
//   void said_goodbye()        the frame that says so is committed; optional
//   void heard_goodbye()       likewise, the peer's was read
//   prepare_to_wait(side, waker), cancel_wait(side), broken(), kIsMemory, kTellsWakers: as in
//                              Connection
//
// A message that has begun to leave and found no more room waits in `rest_`: so at most one does.
#pragma once

#include <atomic>
#include <bulkhead/transport/connection.hpp>
#include <string>
#include <utility>

#include "proto/transport/framing.hpp"

namespace bulkhead::transport {

template <class Stream>
class StreamConnection final : public Connection {
 public:
  template <class... Arguments>
  explicit StreamConnection(const ConnectionOptions& options, Arguments&&... of_the_stream)
      : max_message_bytes_(options.max_message_bytes),
        stream_(std::forward<Arguments>(of_the_stream)...),
        reader_(options.max_message_bytes) {}

  Outcome send(std::string_view bytes) override {
    if (bytes.size() > max_message_bytes_) return Outcome::kTooLarge;
    if (const Outcome ready = finish_rest(); ready != Outcome::kDone) return ready;
    if (kHeaderBytes + bytes.size() > Stream::kMostContiguous) return send_large(bytes);
    return send_small(static_cast<std::uint32_t>(bytes.size()), bytes);
  }

  Outcome flush() override {
    if (const Outcome ready = finish_rest(); ready != Outcome::kDone) return ready;
    const Outcome outcome = stream_.flush();
    return stream_.cut() ? lose() : outcome;
  }

  Outcome close() override {
    if (!said_goodbye_) {
      if (const Outcome ready = finish_rest(); ready != Outcome::kDone) return ready;
      if (const Outcome sent = send_small(kGoodbyeLength, {}); sent != Outcome::kDone) return sent;
      said_goodbye_ = true;
      if constexpr (requires { stream_.said_goodbye(); }) stream_.said_goodbye();
    }
    return flush();
  }

  Outcome receive(std::string_view& message) override {
    if (received_all_) return Outcome::kLost;
    for (bool final = false;;) {
      switch (reader_.next(message)) {
        case FrameReader::Next::kMessage:
          return Outcome::kDone;
        case FrameReader::Next::kGoodbye:
          if constexpr (requires { stream_.heard_goodbye(); }) stream_.heard_goodbye();
          return Outcome::kClosed;
        case FrameReader::Next::kBroken:
          return end_receiving();
        case FrameReader::Next::kMore:
          break;
      }
      std::size_t size = 0;
      char* const at = reader_.room(size);
      const std::size_t got = stream_.read(at, size);
      reader_.commit(got);
      if (got > 0) continue;
      if (final) return end_receiving();
      if (!stream_.ended()) return Outcome::kWait;
      final = true;  // what had arrived before the end is still to be had
    }
  }

  std::optional<Signal> prepare_to_wait(Side side, Waker& waker) override {
    return stream_.prepare_to_wait(side, waker);
  }
  bool cancel_wait(Side side) override { return stream_.cancel_wait(side); }

  bool is_memory() const override { return Stream::kIsMemory; }
  bool tells_wakers() const override { return Stream::kTellsWakers; }

  std::string broken() const override {
    std::string why = reader_.why_broken();
    return why.empty() ? stream_.broken() : why;
  }

 private:
  // Relaxed: it publishes nothing. What one side finds out the other need not.
  Outcome lose() {
    lost_.store(true, std::memory_order_relaxed);
    return Outcome::kLost;
  }
  // A peer that still has the memory may go on writing into it.
  Outcome end_receiving() {
    received_all_ = true;
    return lose();
  }
  Outcome no_room() { return stream_.cut() ? lose() : Outcome::kWait; }

  Outcome finish_rest() {
    if (lost_.load(std::memory_order_relaxed)) return Outcome::kLost;
    if (rest_.empty()) return Outcome::kDone;
    rest_begin_ += stream_.write({}, std::string_view(rest_).substr(rest_begin_));
    if (rest_begin_ < rest_.size()) return no_room();
    rest_begin_ = 0;
    rest_.clear();
    if (rest_.capacity() > kLargeRest) rest_.shrink_to_fit();
    return Outcome::kDone;
  }

  Outcome send_small(std::uint32_t header, std::string_view bytes) {
    const std::size_t size = kHeaderBytes + bytes.size();
    char* at = stream_.reserve(size);
    if (at == nullptr) {
      stream_.flush();  // what it says is seen in the next line, or by cut()
      at = stream_.reserve(size);
      if (at == nullptr) return no_room();
    }
    put_header(at, header);
    if (!bytes.empty()) std::memcpy(at + kHeaderBytes, bytes.data(), bytes.size());
    stream_.commit(size);
    // What does not leave now leaves with the next call.
    if (stream_.unflushed() >= Stream::kBatchBytes) stream_.flush();
    return Outcome::kDone;
  }

  Outcome send_large(std::string_view bytes) {
    char header[kHeaderBytes];
    put_header(header, static_cast<std::uint32_t>(bytes.size()));
    const std::size_t sent = stream_.write({header, kHeaderBytes}, bytes);
    if (sent == 0) return no_room();
    if (sent < kHeaderBytes) rest_.assign(header + sent, kHeaderBytes - sent);
    const std::size_t of_body = sent < kHeaderBytes ? 0 : sent - kHeaderBytes;
    rest_.append(bytes.substr(of_body));
    return Outcome::kDone;
  }

  static constexpr std::size_t kLargeRest = 1u << 20;  // more is not kept for the next

  const std::size_t max_message_bytes_;
  Stream stream_;
  // The sender's.
  std::string rest_;
  std::size_t rest_begin_ = 0;
  bool said_goodbye_ = false;
  // The receiver's.
  FrameReader reader_;
  bool received_all_ = false;

  std::atomic<bool> lost_{false};
};

}  // namespace bulkhead::transport
