// The Stream (stream_connection.hpp) of two rings, one in each direction. How the other side is
// woken, and how its end is noticed, is the Bell's:
//
//   void ring(Side side)                 wakes that side of the peer
//   optional<Signal> arm(side, waker)    what our own side waits for; nothing: the peer is gone
//   bool cancel(side)
//   bool gone()                          the peer was found to be gone
//   kTellsWakers                         as in Connection
#pragma once

#include <bulkhead/transport/connection.hpp>
#include <memory>
#include <string>
#include <utility>

#include "proto/transport/ring.hpp"

namespace bulkhead::transport {

// Of the two rings in their memory each end writes one and reads the other.
enum class End : std::uint8_t { kConnector, kAcceptor };

inline std::size_t ring_capacity_for(std::size_t window_bytes) {
  std::size_t capacity = 64u << 10;
  while (capacity < window_bytes) capacity *= 2;
  return capacity;
}

template <class Bell>
class RingStream {
 public:
  static constexpr bool kIsMemory = true;
  static constexpr bool kTellsWakers = Bell::kTellsWakers;
  static constexpr std::size_t kMostContiguous = 8u << 10;
  // The reader begins with the first messages of a burst while the last are being written.
  static constexpr std::size_t kBatchBytes = 4u << 10;

  // `memory` has two rings. The other arguments are the bell's.
  template <class... Arguments>
  RingStream(std::shared_ptr<RingMemory> memory, End end, Arguments&&... arguments)
      : memory_(std::move(memory)),
        bell_(std::forward<Arguments>(arguments)...),
        writer_(memory_->control(index(end)), memory_->bytes(index(end)), memory_->capacity()),
        reader_(memory_->control(1 - index(end)), memory_->bytes(1 - index(end)),
                memory_->capacity()) {}

  char* reserve(std::size_t size) { return writer_.reserve(size); }
  void commit(std::size_t size) { writer_.commit(size); }
  std::size_t unflushed() const { return writer_.unpublished(); }
  Outcome flush() {
    if (writer_.publish()) bell_.ring(Side::kReceiver);
    return Outcome::kDone;
  }
  std::size_t write(std::string_view first, std::string_view second) {
    std::size_t written = first.empty() ? 0 : writer_.write(first.data(), first.size());
    if (written == first.size()) written += writer_.write(second.data(), second.size());
    flush();
    return written;
  }
  bool cut() const { return writer_.broken() || bell_.gone(); }

  std::size_t read(char* to, std::size_t size) {
    const std::size_t got = reader_.read(to, size);
    if (got > 0 && reader_.release()) bell_.ring(Side::kSender);
    return got;
  }
  bool ended() const { return reader_.broken() || bell_.gone(); }

  // The bell is armed before the ring is looked at a last time: who rings it finds it armed.
  std::optional<Signal> prepare_to_wait(Side side, Waker& waker) {
    if (side == Side::kSender) flush();
    const std::optional<Signal> signal = bell_.arm(side, waker);
    if (!signal) return std::nullopt;
    const bool sleeps =
        side == Side::kSender ? writer_.prepare_to_sleep() : reader_.prepare_to_sleep();
    if (sleeps && !bell_.gone()) return signal;
    // Not needed; but who has taken the waker already is about to tell it.
    return bell_.cancel(side) ? std::nullopt : signal;
  }
  bool cancel_wait(Side side) { return bell_.cancel(side); }

  std::string broken() const {
    return writer_.broken() || reader_.broken() ? "wrote nonsense into the shared ring" : "";
  }

 private:
  static std::size_t index(End end) { return end == End::kConnector ? 0 : 1; }

  const std::shared_ptr<RingMemory> memory_;
  Bell bell_;
  RingWriter writer_;  // the sender's
  RingReader reader_;  // the receiver's
};

}  // namespace bulkhead::transport
