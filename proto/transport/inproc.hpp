// Rings between two threads of one process. Whoever waits is told directly, without a descriptor.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <utility>

#include "proto/transport/ring_stream.hpp"
#include "proto/transport/stream_connection.hpp"

namespace bulkhead::transport {

// What both ends have in common.
struct InprocPair {
  // Who takes a waker out tells it. By end and side.
  using Wakers = std::array<std::array<std::atomic<Waker*>, 2>, 2>;

  RingMemory memory;
  Wakers wakers{};
  std::array<std::atomic<bool>, 2> gone{};
};

class InprocBell {
 public:
  static constexpr bool kTellsWakers = true;

  InprocBell(std::shared_ptr<InprocPair> pair, End end) : pair_(std::move(pair)), end_(end) {}
  ~InprocBell() {
    gone_at(end_).store(true, std::memory_order_relaxed);
    base::full_fence();  // pairs with the one between arm() and gone(): see
                         // RingStream::prepare_to_wait()
    ring(Side::kSender);
    ring(Side::kReceiver);
  }
  InprocBell(const InprocBell&) = delete;
  InprocBell& operator=(const InprocBell&) = delete;

  void ring(Side side) {
    // acq_rel: the waker is as its owner left it; pairs with arm().
    Waker* const waker = place(other(), side).exchange(nullptr, std::memory_order_acq_rel);
    if (waker != nullptr) waker->wake();
  }
  std::optional<Signal> arm(Side side, Waker& waker) {
    place(end_, side).store(&waker, std::memory_order_release);
    return Signal{};
  }
  bool cancel(Side side) {
    return place(end_, side).exchange(nullptr, std::memory_order_acq_rel) != nullptr;
  }
  bool gone() const { return pair_->gone[index(other())].load(std::memory_order_acquire); }

 private:
  static std::size_t index(End end) { return static_cast<std::size_t>(end); }
  End other() const { return end_ == End::kConnector ? End::kAcceptor : End::kConnector; }
  std::atomic<bool>& gone_at(End end) { return pair_->gone[index(end)]; }
  std::atomic<Waker*>& place(End end, Side side) {
    return pair_->wakers[index(end)][static_cast<std::size_t>(side)];
  }

  const std::shared_ptr<InprocPair> pair_;
  const End end_;
};

using InprocConnection = StreamConnection<RingStream<InprocBell>>;

Result<std::shared_ptr<InprocPair>> make_inproc_pair(std::size_t window_bytes);
std::unique_ptr<Connection> make_inproc_connection(const std::shared_ptr<InprocPair>& pair, End end,
                                                   const ConnectionOptions& options);

// The listeners of this process.
Result<std::unique_ptr<Listener>> listen_inproc(const std::string& path,
                                                const ConnectionOptions& options);
Result<std::unique_ptr<Connection>> connect_inproc(const std::string& path,
                                                   const ConnectionOptions& options);

}  // namespace bulkhead::transport
