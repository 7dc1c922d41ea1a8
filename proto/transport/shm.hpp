// Rings in memory that two processes share, and what wakes the other one.
//
// Each end has an eventfd on which its receiver is woken, and sees its peer's end by the socket
// over which the two met. Both are watched by one small epoll instance, which is what a receiver
// waits for: edge-triggered, so that a wake-up has to be taken note of but not to be read. A sender
// that waits for room, which is rare, is woken by a byte on the socket.
#pragma once

#include <atomic>
#include <bulkhead/base/unique_fd.hpp>
#include <memory>

#include "proto/transport/ring_stream.hpp"
#include "proto/transport/stream_connection.hpp"

namespace bulkhead::transport {

class ShmBell {
 public:
  static constexpr bool kTellsWakers = false;

  struct Descriptors {
    base::UniqueFd socket;   // non-blocking, of this end
    base::UniqueFd mine;     // eventfd on which we are woken
    base::UniqueFd theirs;   // the peer's
    base::UniqueFd watched;  // epoll: `mine` and the end of `socket`
  };

  explicit ShmBell(Descriptors descriptors) : descriptors_(std::move(descriptors)) {}

  void ring(Side side);
  std::optional<Signal> arm(Side side, Waker& waker);
  bool cancel(Side) { return true; }
  bool gone() const { return gone_.load(std::memory_order_relaxed); }

 private:
  const Descriptors descriptors_;
  std::atomic<bool> gone_{false};  // relaxed: a fact that publishes nothing
};

using ShmConnection = StreamConnection<RingStream<ShmBell>>;

// What the connector makes and sends to the acceptor, in this order: memory, the connector's
// eventfd, the acceptor's.
struct ShmOffer {
  std::shared_ptr<RingMemory> memory;
  base::UniqueFd of_connector;
  base::UniqueFd of_acceptor;
};
inline constexpr std::size_t kShmDescriptors = 3;

Result<ShmOffer> make_shm_offer(std::size_t window_bytes);
Result<std::unique_ptr<Connection>> make_shm_connection(ShmOffer offer, End end,
                                                        base::UniqueFd socket,
                                                        const ConnectionOptions& options);

}  // namespace bulkhead::transport
