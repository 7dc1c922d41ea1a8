// A connection over ZeroMQ: each side has a PULL socket that listens and a PUSH socket that
// connects to the other's. What is sent leaves in frames of up to kMostFrameBytes, whatever the
// messages in it: libzmq's cost is by the frame.
//
// ZeroMQ connects again by itself, keeps what it could not send and tells nobody of a death. So
// here: an inbox lets in one connection ever; the window is the high-water marks; that the peer's
// PUSH socket is gone is heard from the PULL socket's monitor, after everything that it has sent;
// and that the peer is gone before it has connected, or while it does not read, from the socket on
// which the two have met, the lifeline.
//
// libzmq's own thread carries the frames, one for each process. What was flushed may still be with
// it when the process is killed; when it exits, the thread is waited for (kLingerMs at most).
//
// A PULL socket that has stopped reading, its queue being full, forgets what is still to be read
// when the other end closes. So who has said goodbye keeps its PUSH socket, even beyond the
// connection's end, until the peer says on the lifeline that it has heard it, or is gone.
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <memory>
#include <optional>
#include <zmq.hpp>

#include "proto/transport/gate.hpp"
#include "proto/transport/gather_buffer.hpp"
#include "proto/transport/ring_stream.hpp"
#include "proto/transport/socket_file.hpp"
#include "proto/transport/stream_connection.hpp"

namespace bulkhead::transport {

// Ends libzmq's thread in this process. False: a connection needs it.
bool end_zmq_of_this_process();

// Where one side's PULL socket listens: a file beside the listener's, for the time that the
// connection lasts. `id` is the connector's choice.
struct ZmqInbox {
  SocketFile file;
  base::UniqueFd listener;

  static Result<ZmqInbox> open(const std::string& directory, std::uint64_t id, End whose);
};

// `lifeline` comes from meet() or from a Door. The acceptor's stream says on it that the inbox is
// there; the connector's connects to it then. kResourceExhausted: no room for its sockets.
Result<std::unique_ptr<Connection>> make_zmq_connection(const std::string& directory,
                                                        std::uint64_t id, End end, ZmqInbox inbox,
                                                        base::UniqueFd lifeline,
                                                        const ConnectionOptions& options);

// The Stream of stream_connection.hpp.
class ZmqStream {
 public:
  static constexpr bool kIsMemory = false;
  static constexpr bool kTellsWakers = false;
  static constexpr std::size_t kMostContiguous = 32u << 10;
  static constexpr std::size_t kBatchBytes = 32u << 10;
  static constexpr std::size_t kMostFrameBytes = 32u << 10;

  // Throws zmq::error_t where there is no room for its sockets.
  ZmqStream(ZmqInbox inbox, SocketFile peers, End end, base::UniqueFd lifeline,
            std::size_t window_bytes);
  ~ZmqStream();
  ZmqStream(const ZmqStream&) = delete;
  ZmqStream& operator=(const ZmqStream&) = delete;

  char* reserve(std::size_t size) { return buffer_.reserve(size); }
  void commit(std::size_t size) { buffer_.commit(size); }
  std::size_t unflushed() const { return buffer_.waiting().size(); }
  Outcome flush();
  std::size_t write(std::string_view first, std::string_view second);
  bool cut() const { return cut_; }

  std::size_t read(char* to, std::size_t size);
  bool ended();

  void said_goodbye() { said_goodbye_ = true; }
  void heard_goodbye();

  std::optional<Signal> prepare_to_wait(Side side, Waker&);
  bool cancel_wait(Side) { return true; }
  std::string broken() const { return {}; }

 private:
  bool send_frame(std::string_view first, std::string_view second);
  bool connect_if_called();
  void connect_push();
  void hear_monitor();
  void leave();
  bool peer_has_hung_up() const;

  const std::shared_ptr<zmq::context_t> context_;
  base::UniqueFd lifeline_;
  const SocketFile inbox_;
  const SocketFile peers_;
  Gate gate_;  // of the inbox; outlives pull_
  // The sender's.
  zmq::socket_t push_;
  base::UniqueFd push_epoll_;
  GatherBuffer buffer_{2 * kMostContiguous};
  bool connected_ = false;
  bool said_goodbye_ = false;
  bool full_ = false;  // the last frame was not taken
  bool cut_ = false;
  // The receiver's.
  zmq::socket_t pull_;
  zmq::socket_t monitor_;
  base::UniqueFd pull_epoll_;
  zmq::message_t frame_;
  std::size_t frame_begin_ = 0;
  bool heard_goodbye_ = false;
  bool met_ = false;        // the peer's PUSH socket has connected
  bool alone_ = false;      // the peer has hung up
  bool forgotten_ = false;  // so the lifeline is not waited for any more
  bool leaving_ = false;    // the inbox is being closed
  bool ended_ = false;
};

using ZmqConnection = StreamConnection<ZmqStream>;

}  // namespace bulkhead::transport
