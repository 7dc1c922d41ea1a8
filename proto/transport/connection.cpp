// Which transport is which.
#include <bulkhead/base/check.hpp>
#include <bulkhead/transport/connection.hpp>
#include <random>
#include <utility>

#include "proto/transport/inproc.hpp"
#include "proto/transport/rendezvous.hpp"
#include "proto/transport/shm.hpp"
#include "proto/transport/unix.hpp"
#include "proto/transport/zmq_stream.hpp"

namespace bulkhead::transport {
namespace {

constexpr std::size_t kMostMessageBytes = 1u << 30;
constexpr std::size_t kMostWindowBytes = 64u << 20;

Result<void> check(const ConnectionOptions& options) {
  if (options.max_message_bytes == 0 || options.max_message_bytes > kMostMessageBytes)
    return fail(Code::kInvalidArgument, "messages of at most {} bytes: it must be 1 to {}",
                options.max_message_bytes, kMostMessageBytes);
  if (options.window_bytes == 0 || options.window_bytes > kMostWindowBytes)
    return fail(Code::kInvalidArgument, "a window of {} bytes: it must be 1 to {}",
                options.window_bytes, kMostWindowBytes);
  if (options.token.size() > kMostTokenBytes)
    return fail(Code::kInvalidArgument, "a token of {} bytes; at most {}", options.token.size(),
                kMostTokenBytes);
  return {};
}

// The acceptor makes its inbox once it knows the connector's choice of a name.
Result<std::unique_ptr<Connection>> accept_zmq(const std::string& directory, Visitor visitor,
                                               const ConnectionOptions& options) {
  auto inbox = ZmqInbox::open(directory, visitor.hello.id, End::kAcceptor);
  if (!inbox) {
    // It is there: somebody has chosen that name before.
    if (inbox.error().code == Code::kInvalidArgument) inbox.error().code = Code::kProtocolError;
    return fail(std::move(inbox.error()));
  }
  return make_zmq_connection(directory, visitor.hello.id, End::kAcceptor, std::move(*inbox),
                             std::move(visitor.socket), options);
}

Result<std::unique_ptr<Connection>> connect_zmq(const Address& address, Hello hello,
                                                const ConnectionOptions& options) {
  std::random_device random;
  hello.id = std::uint64_t{random()} << 32 | random();
  auto inbox = ZmqInbox::open(address.directory, hello.id, End::kConnector);
  if (!inbox) {
    // Where there is no such directory nobody listens.
    if (inbox.error().code == Code::kNotFound) inbox.error().code = Code::kUnavailable;
    return fail(std::move(inbox.error()));
  }
  auto socket = meet(address, hello, {});
  if (!socket) return fail(std::move(socket.error()));
  return make_zmq_connection(address.directory, hello.id, End::kConnector, std::move(*inbox),
                             std::move(*socket), options);
}

// Of connections that have descriptors.
class NoWaker final : public Waker {
 public:
  void wake() override { BULKHEAD_CHECK(false, "a connection with a descriptor told a waker"); }
};

class LocalListener final : public Listener {
 public:
  LocalListener(std::unique_ptr<Door> door, std::string directory, ConnectionOptions options)
      : door_(std::move(door)), directory_(std::move(directory)), options_(std::move(options)) {}

  Result<std::unique_ptr<Connection>> accept() override {
    for (;;) {
      auto visitor = door_->next();
      if (!visitor) return fail(std::move(visitor.error()));
      if (!*visitor) return nullptr;
      auto connection = welcome(std::move(**visitor));
      if (connection) return connection;
      door_->count_turned_away();
      // What it offered was wrong: its own affair.
      if (connection.error().code != Code::kProtocolError) return connection;
    }
  }
  int fd() const override { return door_->fd(); }
  std::uint64_t turned_away() const override { return door_->turned_away(); }

 private:
  Result<std::unique_ptr<Connection>> welcome(Visitor visitor) {
    if (visitor.hello.kind == Kind::kUnix)
      return std::make_unique<UnixConnection>(options_, std::move(visitor.socket),
                                              options_.window_bytes);
    if (visitor.hello.kind == Kind::kZmqIpc)
      return accept_zmq(directory_, std::move(visitor), options_);
    if (visitor.descriptors.size() != kShmDescriptors || visitor.hello.window_bytes == 0 ||
        visitor.hello.window_bytes > kMostWindowBytes)
      return fail(Code::kProtocolError, "no offer of shared memory");
    auto memory = RingMemory::map(visitor.descriptors[0].get(), 2,
                                  ring_capacity_for(visitor.hello.window_bytes));
    if (!memory) return fail(std::move(memory.error()));
    ShmOffer offer{.memory = std::make_shared<RingMemory>(std::move(*memory)),
                   .of_connector = std::move(visitor.descriptors[1]),
                   .of_acceptor = std::move(visitor.descriptors[2])};
    return make_shm_connection(std::move(offer), End::kAcceptor, std::move(visitor.socket),
                               options_);
  }

  const std::unique_ptr<Door> door_;
  const std::string directory_;
  const ConnectionOptions options_;
};

}  // namespace

std::string_view name_of(Kind kind) {
  switch (kind) {
    case Kind::kInproc:
      return "inproc";
    case Kind::kUnix:
      return "unix";
    case Kind::kShm:
      return "shm";
    case Kind::kZmqIpc:
      return "zmq-ipc";
  }
  return {};
}

std::optional<Kind> kind_of(std::string_view name) {
  for (const Kind kind : kAllKinds)
    if (name_of(kind) == name) return kind;
  return std::nullopt;
}

Result<std::unique_ptr<Listener>> Listener::listen(Kind kind, const std::string& directory,
                                                   const std::string& name,
                                                   const ConnectionOptions& options) {
  if (auto checked = check(options); !checked) return fail(std::move(checked.error()));
  if (kind == Kind::kInproc) return listen_inproc(directory + '/' + name, options);
  auto door = Door::open({.directory = directory, .name = name}, kind, options.token);
  if (!door) return fail(std::move(door.error()));
  return std::make_unique<LocalListener>(std::move(*door), directory, options);
}

Result<std::unique_ptr<Connection>> connect(Kind kind, const std::string& directory,
                                            const std::string& name,
                                            const ConnectionOptions& options) {
  if (auto checked = check(options); !checked) return fail(std::move(checked.error()));
  if (kind == Kind::kInproc) return connect_inproc(directory + '/' + name, options);
  const Hello hello{.kind = kind,
                    .token = options.token,
                    .window_bytes = static_cast<std::uint32_t>(options.window_bytes)};
  const Address address{.directory = directory, .name = name};
  if (kind == Kind::kUnix) {
    auto socket = meet(address, hello, {});
    if (!socket) return fail(std::move(socket.error()));
    return std::make_unique<UnixConnection>(options, std::move(*socket), options.window_bytes);
  }
  if (kind == Kind::kZmqIpc) return connect_zmq(address, hello, options);
  auto offer = make_shm_offer(options.window_bytes);
  if (!offer) return fail(std::move(offer.error()));
  auto socket = meet(address, hello,
                     {offer->memory->memfd(), offer->of_connector.get(), offer->of_acceptor.get()});
  if (!socket) return fail(std::move(socket.error()));
  return make_shm_connection(std::move(*offer), End::kConnector, std::move(*socket), options);
}

std::optional<Signal> prepare_to_wait(Connection& connection, Side side) {
  NoWaker nobody;
  return connection.prepare_to_wait(side, nobody);
}

bool end_threads() { return end_zmq_of_this_process(); }

}  // namespace bulkhead::transport
