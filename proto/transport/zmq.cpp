// Router and Dealer over libzmq. This is the only file that sees its headers; its exceptions are
// turned into Errors here.
//
// - Every option is set before bind or connect: libzmq copies them into each session at that time.
// - A send never blocks (DONTWAIT), and neither does a destructor: linger is 0, so what has not
// left
//   for the kernel by then is dropped. Whoever must be heard (a Goodbye) waits for the other side
//   to end the conversation.
// - libzmq's listener for ipc takes everybody, and aborts the process when accept4() finds no free
//   descriptor. No option prevents either, the gate does.
#include <algorithm>
#include <bulkhead/transport/zmq.hpp>
#include <cerrno>
#include <climits>
#include <zmq.hpp>

#include "proto/transport/gate.hpp"
#include "proto/transport/owned_message.hpp"
#include "proto/transport/socket_file.hpp"
#include "proto/transport/zmq_retry.hpp"

namespace bulkhead::transport {
namespace {

constexpr int kReconnectMs = 20;
constexpr int kReconnectMaxMs = 1000;
constexpr int kHandshakeMs = 10'000;  // generous: a busy machine only delays it
constexpr std::size_t kMaxIdentity = 255;
// The limit on frames also holds for the greeting of the protocol itself.
constexpr std::size_t kSmallestFrameLimit = 1024;
// receive() passes over so many malformed messages, so that one peer cannot hold its caller; wait()
// then returns at once.
constexpr int kMalformedAtOnce = 64;

tl::unexpected<Error> failure(const zmq::error_t& error, std::string_view doing) {
  Code code = Code::kIoError;
  switch (error.num()) {
    case EHOSTUNREACH:
    case ETERM:
      code = Code::kUnavailable;
      break;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      code = Code::kResourceExhausted;
      break;
    case EINVAL:
    case ENAMETOOLONG:
      code = Code::kInvalidArgument;
      break;
    default:
      break;
  }
  return fail(code, "{}: {}", doing, error.what());
}

Result<void> check(const Options& options) {
  if (options.queue_messages <= 0 || options.max_message_bytes == 0) {
    return fail(Code::kInvalidArgument, "a queue of {} messages of {} bytes can carry nothing",
                options.queue_messages, options.max_message_bytes);
  }
  return {};
}

// A socket with a context of its own, so that ending it waits for no other.
class Socket {
 public:
  Socket(zmq::socket_type type, const Options& options)
      : max_message_bytes_(options.max_message_bytes), socket_(context_, type) {
    socket_.set(zmq::sockopt::linger, 0);
    socket_.set(zmq::sockopt::sndhwm, options.queue_messages);
    socket_.set(zmq::sockopt::rcvhwm, options.queue_messages);
    const std::size_t frame = std::max(options.max_message_bytes, kSmallestFrameLimit);
    socket_.set(zmq::sockopt::maxmsgsize,
                static_cast<std::int64_t>(std::min<std::size_t>(frame, LLONG_MAX)));
    socket_.set(zmq::sockopt::handshake_ivl, kHandshakeMs);
    socket_.set(zmq::sockopt::reconnect_ivl, kReconnectMs);
    socket_.set(zmq::sockopt::reconnect_ivl_max, kReconnectMaxMs);
    // Answered by libzmq's own thread: proves nothing about the peer.
    socket_.set(zmq::sockopt::heartbeat_ivl, 0);
  }

  zmq::socket_t& raw() { return socket_; }

  Result<void> check_size(const std::string& bytes) const {
    if (bytes.size() <= max_message_bytes_) return {};
    return fail(Code::kTooLarge, "a message of {} bytes is beyond the limit of {}", bytes.size(),
                max_message_bytes_);
  }

  // One frame; nothing when its peer's queue is full.
  bool send(zmq::message_t& frame, bool more = false) {
    const auto flags =
        zmq::send_flags::dontwait | (more ? zmq::send_flags::sndmore : zmq::send_flags::none);
    return retry([&] { return socket_.send(frame, flags); }).has_value();
  }

  // The frames of the next message, as many as fit `frames`. Returns how many it had, 0: no
  // message. libzmq hands over whole messages only, so the frames after the first are there.
  std::size_t receive(zmq::message_t* frames, std::size_t room) {
    std::size_t count = 0;
    zmq::message_t beyond;
    for (bool more = true; more; ++count) {
      zmq::message_t& frame = count < room ? frames[count] : beyond;
      if (!retry([&] { return socket_.recv(frame, zmq::recv_flags::dontwait); })) break;
      more = frame.more();
    }
    return count;
  }

  // `ready` gets one entry for each of `fds`. Returns whether a message may be there.
  bool wait(const int* fds, std::size_t count, base::Duration timeout, std::vector<bool>& ready) {
    ready.assign(count, false);
    std::vector<zmq::pollitem_t> items{{socket_.handle(), 0, ZMQ_POLLIN, 0}};
    std::vector<std::size_t> source;  // of items[1 + i] in `fds`
    for (std::size_t i = 0; i < count; ++i) {
      if (fds[i] < 0) continue;
      items.push_back({nullptr, fds[i], ZMQ_POLLIN, 0});
      source.push_back(i);
    }
    // Rounded up: rounding down would turn the last millisecond into a busy loop.
    const auto wanted = std::chrono::ceil<std::chrono::milliseconds>(timeout).count();
    const auto milliseconds = std::chrono::milliseconds(
        timeout < base::Duration::zero() ? -1 : std::min<std::int64_t>(wanted, INT_MAX));
    try {
      zmq::poll(items, milliseconds);
    } catch (const zmq::error_t&) {
      // EINTR ends the wait by contract. Anything else (a bad descriptor) would make a caller that
      // waits again spin, and shows in what it finds out when it uses the descriptor.
      return false;
    }
    for (std::size_t i = 0; i < source.size(); ++i) {
      ready[source[i]] = items[1 + i].revents != 0;  // also after a hang-up
    }
    return items[0].revents != 0;
  }

 private:
  std::size_t max_message_bytes_;
  zmq::context_t context_{1};
  zmq::socket_t socket_;  // closed before its context ends
};

std::string text_of(const zmq::message_t& frame) {
  return std::string(frame.data<char>(), frame.size());
}

// Whether a peer came without an identity, so that libzmq made one up: it begins with 0.
bool is_generated(const zmq::message_t& identity) {
  return identity.size() == 0 || *identity.data<char>() == '\0';
}

class ZmqRouter final : public Router {
 public:
  ZmqRouter(SocketFile file, const Options& options)
      : file_(std::move(file)), socket_(zmq::socket_type::router, options) {
    socket_.raw().set(zmq::sockopt::router_mandatory, true);
    socket_.raw().set(zmq::sockopt::router_handover, false);
  }

  Result<void> listen(const Admission& admission) {
    auto listener = file_.listen();
    if (!listener) return fail(listener.error());
    gate_.emplace(listener->get(), admission);
    socket_.raw().set(zmq::sockopt::use_fd, listener->get());
    socket_.raw().bind(file_.endpoint());
    listener->release();  // libzmq closes it from here on
    return {};
  }

  Result<void> send(std::string_view peer, std::string bytes) override try {
    if (auto fits = socket_.check_size(bytes); !fits) return fits;
    if (peer.empty()) return fail(Code::kInvalidArgument, "a message needs a peer");
    // With ROUTER_MANDATORY the identity frame fails where the peer is unknown or its queue is
    // full, and the payload frame then finds room.
    zmq::message_t address(peer.data(), peer.size());
    zmq::message_t payload = owned_message(std::move(bytes));
    if (!socket_.send(address, true) || !socket_.send(payload)) {
      return fail(Code::kResourceExhausted, "the peer does not read: its queue is full");
    }
    return {};
  } catch (const zmq::error_t& error) {
    return failure(error, "cannot send to a worker");
  }

  std::optional<Message> receive() override try {
    for (int i = 0; i < kMalformedAtOnce; ++i) {
      zmq::message_t frames[2];
      const std::size_t count = socket_.receive(frames, 2);
      if (count == 0) return std::nullopt;
      if (count == 2 && !is_generated(frames[0])) {
        return Message{text_of(frames[0]), text_of(frames[1])};
      }
      ++malformed_;
    }
    return std::nullopt;
  } catch (const zmq::error_t&) {
    return std::nullopt;  // the context has ended: no peer can be heard, and hosts report deaths
  }

  Readiness wait(int other_fd, base::Duration timeout) override {
    const bool messages = socket_.wait(&other_fd, 1, timeout, ready_);
    return {messages, ready_[0]};
  }

  std::uint64_t malformed() const override { return malformed_; }
  std::uint64_t turned_away() const override { return gate_->turned_away(); }
  std::vector<int> take_returned() override { return gate_->take_returned(); }
  int returned_fd() const override { return gate_->returned_fd(); }

 private:
  SocketFile file_;
  std::optional<Gate> gate_;  // outlives the socket, and with it libzmq's use of the listener
  Socket socket_;
  std::vector<bool> ready_;
  std::uint64_t malformed_ = 0;
};

class ZmqDealer final : public Dealer {
 public:
  ZmqDealer(SocketFile file, std::string_view identity, const Options& options)
      : file_(std::move(file)), socket_(zmq::socket_type::dealer, options) {
    socket_.raw().set(zmq::sockopt::routing_id, std::string(identity));
    // IMMEDIATE stays off: the first message, sent before the link is up, has to queue.
    socket_.raw().connect(file_.endpoint());
  }

  Result<void> send(std::string&& bytes) override try {
    if (auto fits = socket_.check_size(bytes); !fits) return fits;
    zmq::message_t frame = owned_message(std::move(bytes));
    if (!socket_.send(frame)) {
      bytes = text_of(frame);
      return fail(Code::kResourceExhausted, "the coordinator does not read: the queue is full");
    }
    return {};
  } catch (const zmq::error_t& error) {
    return failure(error, "cannot send to the coordinator");
  }

  std::optional<Message> receive() override try {
    for (int i = 0; i < kMalformedAtOnce; ++i) {
      zmq::message_t frame;
      const std::size_t count = socket_.receive(&frame, 1);
      if (count == 0) return std::nullopt;
      if (count == 1) return Message{{}, text_of(frame)};
    }
    return std::nullopt;
  } catch (const zmq::error_t&) {
    return std::nullopt;  // the context has ended; the lifeline tells the rest
  }

  Wait wait(const std::vector<int>& fds, base::Duration timeout) override {
    Wait result;
    result.messages = socket_.wait(fds.data(), fds.size(), timeout, result.descriptors);
    return result;
  }

 private:
  SocketFile file_;  // libzmq connects again through its path
  Socket socket_;
};

}  // namespace

// A context's first act is to set up libsodium, which takes milliseconds; its threads come with its
// first socket.
void prepare_for_forks() { zmq::context_t context; }

Result<std::unique_ptr<Router>> Router::bind(const Address& address, const Options& options,
                                             const Admission& admission) try {
  if (auto sane = check(options); !sane) return fail(sane.error());
  auto file = SocketFile::open(address);
  if (!file) return fail(file.error());
  auto router = std::make_unique<ZmqRouter>(std::move(*file), options);
  if (auto listening = router->listen(admission); !listening) return fail(listening.error());
  return router;
} catch (const zmq::error_t& error) {
  return failure(error, fmt::format("cannot listen in '{}'", address.directory));
}

Result<std::unique_ptr<Dealer>> Dealer::connect(const Address& address, std::string_view identity,
                                                const Options& options) try {
  if (auto sane = check(options); !sane) return fail(sane.error());
  if (identity.empty() || identity.size() > kMaxIdentity || identity.front() == '\0') {
    return fail(Code::kInvalidArgument,
                "an identity has 1 to {} bytes, the first not 0; this one has {}", kMaxIdentity,
                identity.size());
  }
  auto file = SocketFile::open(address);
  if (!file) return fail(file.error());
  return std::make_unique<ZmqDealer>(std::move(*file), identity, options);
} catch (const zmq::error_t& error) {
  return failure(error, fmt::format("cannot connect in '{}'", address.directory));
}

}  // namespace bulkhead::transport
