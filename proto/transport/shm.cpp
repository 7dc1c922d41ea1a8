#include "proto/transport/shm.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

namespace bulkhead::transport {
namespace {

// A write to it never blocks.
bool never_blocks(int fd) { return (::fcntl(fd, F_GETFL) & O_NONBLOCK) != 0; }

tl::unexpected<Error> no_descriptor(const char* what) {
  if (errno == EPERM) return fail(Code::kProtocolError, "can't wait for what came as an eventfd");
  return fail(Code::kResourceExhausted, "can't create {}: {}", what, std::strerror(errno));
}

}  // namespace

void ShmBell::ring(Side side) {
  if (side == Side::kReceiver) {
    // EAGAIN: it has been woken 2^64 - 2 times and is awake enough.
    static_cast<void>(::eventfd_write(descriptors_.theirs.get(), 1));
    return;
  }
  // EAGAIN: so many bytes lie there already that it will be woken.
  static_cast<void>(::send(descriptors_.socket.get(), "", 1, MSG_NOSIGNAL | MSG_DONTWAIT));
}

std::optional<Signal> ShmBell::arm(Side side, Waker&) {
  if (side == Side::kSender) {
    std::array<char, 64> bytes;
    const ssize_t got = ::recv(descriptors_.socket.get(), bytes.data(), bytes.size(), MSG_DONTWAIT);
    const bool ended = got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR);
    if (ended) gone_.store(true, std::memory_order_relaxed);
    if (gone()) return std::nullopt;
    return Signal{.fd = descriptors_.socket.get()};
  }
  std::array<epoll_event, 2> events;
  const int count =
      ::epoll_wait(descriptors_.watched.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.fd == descriptors_.socket.get()) gone_.store(true, std::memory_order_relaxed);
  }
  if (gone()) return std::nullopt;
  return Signal{.fd = descriptors_.watched.get(), .standing = true};
}

Result<ShmOffer> make_shm_offer(std::size_t window_bytes) {
  auto memory = RingMemory::create(2, ring_capacity_for(window_bytes));
  if (!memory) return fail(std::move(memory.error()));
  ShmOffer offer{.memory = std::make_shared<RingMemory>(std::move(*memory)),
                 .of_connector = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
                 .of_acceptor = base::UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))};
  if (!offer.of_connector || !offer.of_acceptor) return no_descriptor("an eventfd");
  return offer;
}

Result<std::unique_ptr<Connection>> make_shm_connection(ShmOffer offer, End end,
                                                        base::UniqueFd socket,
                                                        const ConnectionOptions& options) {
  if (!never_blocks(offer.of_connector.get()) || !never_blocks(offer.of_acceptor.get()))
    return fail(Code::kProtocolError, "an eventfd that blocks");
  const bool connects = end == End::kConnector;
  ShmBell::Descriptors descriptors{
      .socket = std::move(socket),
      .mine = std::move(connects ? offer.of_connector : offer.of_acceptor),
      .theirs = std::move(connects ? offer.of_acceptor : offer.of_connector),
      .watched = base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC))};
  if (!descriptors.watched) return no_descriptor("an epoll instance");
  const auto watch = [&](int fd, std::uint32_t events) {
    epoll_event event{};
    event.events = events | EPOLLET;
    event.data.fd = fd;
    return ::epoll_ctl(descriptors.watched.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  };
  if (!watch(descriptors.mine.get(), EPOLLIN) || !watch(descriptors.socket.get(), EPOLLRDHUP))
    return no_descriptor("a watch for the peer");
  offer.memory->close_memfd();
  return std::make_unique<ShmConnection>(options, std::move(offer.memory), end,
                                         std::move(descriptors));
}

}  // namespace bulkhead::transport
