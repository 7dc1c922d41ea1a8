#include "proto/transport/zmq_stream.hpp"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <bulkhead/base/mutex.hpp>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "proto/transport/zmq_retry.hpp"

namespace bulkhead::transport {
namespace {

constexpr int kLingerMs = 5'000;
constexpr int kLookMs = 10;
constexpr int kReconnectMs = 10;
constexpr int kReconnectMaxMs = 200;
// What one says to the other on the lifeline.
constexpr char kCome = 1;   // my inbox is there
constexpr char kHeard = 2;  // your goodbye
constexpr int kMostSockets = 1 << 16;
// A monitor's event: its number, and a value.
constexpr std::size_t kEventBytes = 6;

template <class Thing>
void keep_for_ever(Thing thing) {
  static auto* const kept = new std::vector<Thing>;
  kept->push_back(std::move(thing));
}

// Has said goodbye, and waits for the peer to have heard it.
struct Leaver {
  zmq::socket_t push;
  base::UniqueFd lifeline;
  base::TimePoint latest;

  bool is_done() const {
    char byte = 0;
    for (;;) {
      const ssize_t got = ::recv(lifeline.get(), &byte, 1, MSG_DONTWAIT);
      if (got < 0) return (errno != EAGAIN && errno != EINTR) || base::Clock::now() >= latest;
      if (got == 0 || byte == kHeard) return true;
    }
  }
};

struct OfThisProcess {
  base::Mutex mutex;
  pid_t pid BULKHEAD_GUARDED_BY(mutex) = 0;
  std::shared_ptr<zmq::context_t> context BULKHEAD_GUARDED_BY(mutex);
  std::vector<Leaver> leavers BULKHEAD_GUARDED_BY(mutex);

  // A parent's threads are not here: what they serve is kept for ever, untouched.
  void be_this_process() BULKHEAD_REQUIRES(mutex) {
    if (pid == ::getpid()) return;
    if (context) keep_for_ever(std::exchange(context, nullptr));
    for (Leaver& leaver : leavers) keep_for_ever(std::move(leaver));
    leavers.clear();
    pid = ::getpid();
  }
  void let_go() BULKHEAD_REQUIRES(mutex) {
    std::erase_if(leavers, [](const Leaver& leaver) { return leaver.is_done(); });
  }
  // False: a connection needs it.
  bool end() BULKHEAD_REQUIRES(mutex) {
    be_this_process();
    if (context.use_count() > 1) return false;
    for (let_go(); !leavers.empty(); let_go()) {
      pollfd lifeline{.fd = leavers.front().lifeline.get(), .events = POLLIN, .revents = 0};
      ::poll(&lifeline, 1, kLookMs);
    }
    context.reset();
    return true;
  }

  ~OfThisProcess() {
    const base::MutexLock lock(mutex);
    if (!end()) keep_for_ever(std::move(context));  // somebody still has a connection
  }
};

OfThisProcess& of_this_process() {
  static OfThisProcess one;
  return one;
}

// A child that was forked gets one of its own.
std::shared_ptr<zmq::context_t> zmq_of_this_process() {
  OfThisProcess& one = of_this_process();
  const base::MutexLock lock(one.mutex);
  one.be_this_process();
  one.let_go();
  if (!one.context) {
    one.context = std::make_shared<zmq::context_t>(1);
    one.context->set(zmq::ctxopt::max_sockets, kMostSockets);
  }
  return one.context;
}

// Of either side; the other's may not be there yet.
Result<SocketFile> find_inbox(const std::string& directory, std::uint64_t id, End whose) {
  return SocketFile::open(
      {.directory = directory, .name = fmt::format("zmq-{:016x}-{}", id, static_cast<int>(whose))});
}

int frames_of(std::size_t window_bytes) {
  // On either side of the boundary one half.
  return static_cast<int>(std::max<std::size_t>(1, window_bytes / ZmqStream::kMostFrameBytes / 2));
}

zmq::socket_t make_socket(zmq::context_t& context, zmq::socket_type type, int frames) {
  zmq::socket_t socket(context, type);
  socket.set(zmq::sockopt::linger, kLingerMs);
  socket.set(zmq::sockopt::sndhwm, frames);
  socket.set(zmq::sockopt::rcvhwm, frames);
  socket.set(zmq::sockopt::maxmsgsize, static_cast<std::int64_t>(ZmqStream::kMostFrameBytes));
  // Where no descriptor was left. Who was there and has gone lets nobody in again.
  socket.set(zmq::sockopt::reconnect_ivl, kReconnectMs);
  socket.set(zmq::sockopt::reconnect_ivl_max, kReconnectMaxMs);
  socket.set(zmq::sockopt::handshake_ivl, 0);  // the lifeline tells
  socket.set(zmq::sockopt::immediate, true);   // nothing is taken before the peer is there
  return socket;
}

zmq::socket_t make_monitor(zmq::context_t& context, zmq::socket_t& watched) {
  static std::atomic<std::uint64_t> count{0};  // relaxed: it only tells names apart
  const std::string endpoint =
      fmt::format("inproc://monitor-{}", count.fetch_add(1, std::memory_order_relaxed));
  const int events = ZMQ_EVENT_ACCEPTED | ZMQ_EVENT_CLOSED | ZMQ_EVENT_DISCONNECTED |
                     ZMQ_EVENT_HANDSHAKE_FAILED_NO_DETAIL | ZMQ_EVENT_HANDSHAKE_FAILED_PROTOCOL |
                     ZMQ_EVENT_HANDSHAKE_FAILED_AUTH;
  if (zmq_socket_monitor(watched.handle(), endpoint.c_str(), events) != 0) throw zmq::error_t();
  zmq::socket_t monitor(context, zmq::socket_type::pair);
  monitor.set(zmq::sockopt::linger, 0);
  monitor.connect(endpoint);
  return monitor;
}

base::UniqueFd watch(std::initializer_list<int> sockets, int lifeline, std::uint32_t of_lifeline) {
  base::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  const auto add = [&epoll](int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events;
    return ::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  };
  bool added = epoll && add(lifeline, of_lifeline);
  for (const int socket : sockets) added = added && add(socket, EPOLLIN);
  if (!added) throw zmq::error_t();
  return epoll;
}

// Whoever is gone need not hear it.
void say(int lifeline, char what) {
  while (::send(lifeline, &what, 1, MSG_NOSIGNAL | MSG_DONTWAIT) < 0 && errno == EINTR) {
  }
}

bool may(zmq::socket_t& socket, int what) {
  return (retry([&] { return socket.get(zmq::sockopt::events); }) & what) != 0;
}

}  // namespace

bool end_zmq_of_this_process() {
  OfThisProcess& one = of_this_process();
  const base::MutexLock lock(one.mutex);
  return one.end();
}

Result<ZmqInbox> ZmqInbox::open(const std::string& directory, std::uint64_t id, End whose) {
  auto file = find_inbox(directory, id, whose);
  if (!file) return fail(std::move(file.error()));
  auto listener = file->listen();
  if (!listener) return fail(std::move(listener.error()));
  return ZmqInbox{std::move(*file), std::move(*listener)};
}

Result<std::unique_ptr<Connection>> make_zmq_connection(const std::string& directory,
                                                        std::uint64_t id, End end, ZmqInbox inbox,
                                                        base::UniqueFd lifeline,
                                                        const ConnectionOptions& options) try {
  auto peers = find_inbox(directory, id, end == End::kConnector ? End::kAcceptor : End::kConnector);
  if (!peers) return fail(std::move(peers.error()));
  return std::make_unique<ZmqConnection>(options, std::move(inbox), std::move(*peers), end,
                                         std::move(lifeline), options.window_bytes);
} catch (const zmq::error_t& error) {
  return fail(Code::kResourceExhausted, "no room for a connection: {}", error.what());
}

ZmqStream::ZmqStream(ZmqInbox inbox, SocketFile peers, End end, base::UniqueFd lifeline,
                     std::size_t window_bytes)
    : context_(zmq_of_this_process()),
      lifeline_(std::move(lifeline)),
      inbox_(std::move(inbox.file)),
      peers_(std::move(peers)),
      // One ever: the peer's, which comes once.
      gate_(inbox.listener.get(),
            {.admits = [came = false](int) mutable { return !std::exchange(came, true); }}),
      push_(make_socket(*context_, zmq::socket_type::push, frames_of(window_bytes))),
      push_epoll_(watch({push_.get(zmq::sockopt::fd)}, lifeline_.get(),
                        end == End::kConnector ? EPOLLIN | EPOLLRDHUP : EPOLLRDHUP)),
      pull_(make_socket(*context_, zmq::socket_type::pull, frames_of(window_bytes))),
      monitor_(make_monitor(*context_, pull_)),
      pull_epoll_(watch({pull_.get(zmq::sockopt::fd), monitor_.get(zmq::sockopt::fd)},
                        lifeline_.get(), EPOLLRDHUP)) {
  pull_.set(zmq::sockopt::use_fd, inbox.listener.get());
  pull_.bind(inbox_.endpoint());
  inbox.listener.release();  // libzmq closes it from here on
  if (end == End::kConnector) return;
  connect_push();
  say(lifeline_.get(), kCome);
}

ZmqStream::~ZmqStream() {
  // First, or libzmq's thread would wait for somebody to read of its events.
  zmq_socket_monitor(pull_.handle(), nullptr, 0);
  if (!said_goodbye_ || unflushed() > 0 || cut_) return;
  OfThisProcess& one = of_this_process();
  const base::MutexLock lock(one.mutex);
  one.let_go();
  one.leavers.push_back({std::move(push_), std::move(lifeline_),
                         base::Clock::now() + std::chrono::milliseconds(kLingerMs)});
}

Outcome ZmqStream::flush() {
  write({}, {});
  return unflushed() == 0 ? Outcome::kDone : Outcome::kWait;
}

std::size_t ZmqStream::write(std::string_view first, std::string_view second) {
  while (unflushed() > 0) {
    const std::string_view next = buffer_.waiting().substr(0, kMostFrameBytes);
    if (!send_frame(next, {})) return 0;
    buffer_.take(next.size());
  }
  std::size_t done = 0;  // of the two
  while (done < first.size() + second.size()) {
    const std::string_view of_first = first.substr(std::min(done, first.size()), kMostFrameBytes);
    const std::string_view of_second =
        second.substr(done + of_first.size() - first.size(), kMostFrameBytes - of_first.size());
    if (!send_frame(of_first, of_second)) return done;
    done += of_first.size() + of_second.size();
  }
  return done;
}

bool ZmqStream::send_frame(std::string_view first, std::string_view second) try {
  if (!connect_if_called()) return false;
  // A frame that nobody takes would be built for nothing.
  if (!full_ || may(push_, ZMQ_POLLOUT)) {
    zmq::message_t frame(first.size() + second.size());
    if (!first.empty()) std::memcpy(frame.data(), first.data(), first.size());
    if (!second.empty())
      std::memcpy(frame.data<char>() + first.size(), second.data(), second.size());
    full_ = !retry([&] { return push_.send(frame, zmq::send_flags::dontwait); });
  }
  if (full_) cut_ = cut_ || peer_has_hung_up();
  return !full_;
} catch (const zmq::error_t&) {
  cut_ = true;
  return false;
}

// The acceptor is told nothing: it comes second.
bool ZmqStream::connect_if_called() {
  if (connected_) return true;
  char come = 0;
  const ssize_t got = ::recv(lifeline_.get(), &come, 1, MSG_DONTWAIT);
  if (got == 1)
    connect_push();
  else if (got == 0 || (errno != EAGAIN && errno != EINTR))
    cut_ = true;
  return connected_;
}

void ZmqStream::connect_push() {
  push_.connect(peers_.endpoint());
  connected_ = true;
  epoll_event event{};
  event.events = EPOLLRDHUP;
  ::epoll_ctl(push_epoll_.get(), EPOLL_CTL_MOD, lifeline_.get(), &event);
}

std::size_t ZmqStream::read(char* to, std::size_t size) try {
  while (frame_begin_ == frame_.size()) {
    frame_begin_ = 0;
    if (!retry([&] { return pull_.recv(frame_, zmq::recv_flags::dontwait); })) {
      frame_.rebuild();
      return 0;
    }
  }
  const std::size_t count = std::min(size, frame_.size() - frame_begin_);
  std::memcpy(to, frame_.data<char>() + frame_begin_, count);
  frame_begin_ += count;
  return count;
} catch (const zmq::error_t&) {
  ended_ = true;
  return 0;
}

// The monitor tells that a connection is gone a moment before what it brought last can be received.
// So the inbox is closed then, by libzmq's thread after that, and its own end is waited for.
bool ZmqStream::ended() try {
  if (ended_) return true;
  alone_ = alone_ || peer_has_hung_up();
  hear_monitor();  // after that: who has connected before it hung up is known here
  if (alone_ && !met_) leave();
  return ended_;
} catch (const zmq::error_t&) {
  return ended_ = true;
}

void ZmqStream::hear_monitor() {
  for (;;) {
    zmq::message_t event;
    if (!retry([&] { return monitor_.recv(event, zmq::recv_flags::dontwait); })) return;
    zmq::message_t endpoint;
    if (event.more())
      static_cast<void>(retry([&] { return monitor_.recv(endpoint, zmq::recv_flags::dontwait); }));
    if (event.size() < kEventBytes) continue;
    std::uint16_t what = 0;
    std::memcpy(&what, event.data(), sizeof what);
    if (what == ZMQ_EVENT_ACCEPTED)
      met_ = true;
    else if (what == ZMQ_EVENT_CLOSED)
      ended_ = true;
    else
      leave();
  }
}

void ZmqStream::heard_goodbye() {
  if (!std::exchange(heard_goodbye_, true)) say(lifeline_.get(), kHeard);
}

void ZmqStream::leave() {
  if (!std::exchange(leaving_, true)) pull_.unbind(pull_.get(zmq::sockopt::last_endpoint));
}

bool ZmqStream::peer_has_hung_up() const {
  pollfd lifeline{.fd = lifeline_.get(), .events = POLLRDHUP, .revents = 0};
  return ::poll(&lifeline, 1, 0) > 0;
}

std::optional<Signal> ZmqStream::prepare_to_wait(Side side, Waker&) try {
  if (side == Side::kSender) {
    // Asking takes what came for the socket; its descriptor tells only of what comes later.
    if ((connected_ && may(push_, ZMQ_POLLOUT)) || cut_) return std::nullopt;
    return Signal{.fd = push_epoll_.get()};
  }
  if (may(pull_, ZMQ_POLLIN) || may(monitor_, ZMQ_POLLIN) || ended_) return std::nullopt;
  if (alone_ && !forgotten_) {
    forgotten_ = true;
    ::epoll_ctl(pull_epoll_.get(), EPOLL_CTL_DEL, lifeline_.get(), nullptr);
  }
  return Signal{.fd = pull_epoll_.get()};
} catch (const zmq::error_t&) {
  return std::nullopt;  // the next attempt tells
}

}  // namespace bulkhead::transport
