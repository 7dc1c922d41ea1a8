#include "proto/transport/rendezvous.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <utility>

namespace bulkhead::transport {
namespace {

constexpr char kMagic[8] = {'b', 'u', 'l', 'k', 'h', 'e', 'a', 'd'};
constexpr std::uint8_t kVersion = 1;
// Offsets of the packet.
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kKindAt = 9;
constexpr std::size_t kTokenSizeAt = 10;
constexpr std::size_t kWindowAt = 12;
constexpr std::size_t kTokenAt = 16;
constexpr std::size_t kIdAt = 80;
static_assert(kTokenAt + kMostTokenBytes <= kIdAt && kIdAt + 8 <= kHelloBytes);
// Those who have connected and said nothing yet; beyond, the one that is silent for longest goes.
constexpr std::size_t kMostSilent = 64;

Code code_of_connect(int error) {
  switch (error) {
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
      return Code::kResourceExhausted;
    case EACCES:
    case EPERM:
      return Code::kPermissionDenied;
    default:
      return Code::kUnavailable;
  }
}

// What one packet can bring along.
union Control {
  char bytes[CMSG_SPACE(kMostHelloDescriptors * sizeof(int))];
  cmsghdr aligned;
};

int connect_socket(int socket, const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path.copy(address.sun_path, sizeof address.sun_path - 1);
  for (;;) {
    if (::connect(socket, reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0)
      return 0;
    if (errno != EINTR) return errno;
  }
}

class LocalDoor final : public Door {
 public:
  LocalDoor(SocketFile file, base::UniqueFd listener, base::UniqueFd epoll, Kind kind,
            std::string token)
      : file_(std::move(file)),
        listener_(std::move(listener)),
        epoll_(std::move(epoll)),
        spare_(::open("/dev/null", O_RDONLY | O_CLOEXEC)),
        kind_(kind),
        token_(std::move(token)) {}

  bool watch(int fd) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.fd = fd;
    return ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) == 0;
  }

  Result<std::optional<Visitor>> next() override {
    for (;;) {
      std::array<epoll_event, 16> events;
      const int count =
          ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
      if (count <= 0) return std::nullopt;
      for (int i = 0; i < count; ++i) {
        const int fd = events[static_cast<std::size_t>(i)].data.fd;
        if (fd != listener_.get()) {
          if (auto visitor = hear(fd)) return visitor;
        } else if (auto let_in = let_in_all(); !let_in) {
          return fail(std::move(let_in.error()));
        }
      }
    }
  }
  int fd() const override { return epoll_.get(); }
  std::uint64_t turned_away() const override {
    return turned_away_.load(std::memory_order_relaxed);
  }
  void count_turned_away() override { turned_away_.fetch_add(1, std::memory_order_relaxed); }

 private:
  struct Silent {
    base::UniqueFd socket;
    std::string bytes;
    std::vector<base::UniqueFd> descriptors;
  };

  Result<void> let_in_all() {
    for (;;) {
      // Who has spoken is heard first, and the others wait in the queue.
      if (silent_.size() == kMostSilent && has_spoken(silent_.front())) return {};
      base::UniqueFd socket(
          ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (!socket) {
        if (errno == EINTR || errno == ECONNABORTED) continue;
        if (errno == EAGAIN) return {};
        return turn_one_away(errno);
      }
      ucred peer{};
      socklen_t length = sizeof peer;
      const bool ours = ::getsockopt(socket.get(), SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
                        (peer.uid == ::geteuid() || peer.uid == 0);
      if (!ours || !watch(socket.get())) {
        count_turned_away();
        continue;
      }
      if (silent_.size() == kMostSilent) {
        silent_.pop_front();
        count_turned_away();
      }
      silent_.push_back({.socket = std::move(socket), .bytes = {}, .descriptors = {}});
    }
  }

  static bool has_spoken(const Silent& one) {
    pollfd socket{.fd = one.socket.get(), .events = POLLIN, .revents = 0};
    return ::poll(&socket, 1, 0) > 0;
  }

  // Without a descriptor for it a visitor would stay in the queue, and we would be told of it over
  // and over.
  Result<void> turn_one_away(int error) {
    if ((error == EMFILE || error == ENFILE) && spare_) {
      spare_.reset();
      const int visitor = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (visitor >= 0) ::close(visitor);
      spare_ = base::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
      count_turned_away();
    }
    return fail(Code::kResourceExhausted, "a connection was turned away: {}", std::strerror(error));
  }

  std::optional<Visitor> hear(int fd) {
    const auto silent = std::find_if(silent_.begin(), silent_.end(),
                                     [fd](const Silent& one) { return one.socket.get() == fd; });
    if (silent == silent_.end()) return std::nullopt;
    if (!read_some(*silent)) {
      silent_.erase(silent);
      count_turned_away();
      return std::nullopt;
    }
    if (silent->bytes.size() < kHelloBytes) return std::nullopt;
    Silent said = std::move(*silent);
    silent_.erase(silent);
    auto hello = decode_hello(said.bytes);
    if (!hello || hello->kind != kind_ || hello->token != token_) {
      count_turned_away();
      return std::nullopt;
    }
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, fd, nullptr);
    return Visitor{.socket = std::move(said.socket),
                   .hello = std::move(*hello),
                   .descriptors = std::move(said.descriptors)};
  }

  // False: it has hung up, or sends too much.
  static bool read_some(Silent& silent) {
    std::array<char, kHelloBytes> bytes;
    Control control{};
    iovec part{.iov_base = bytes.data(), .iov_len = kHelloBytes - silent.bytes.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes;
    message.msg_controllen = sizeof control.bytes;
    const ssize_t got = ::recvmsg(silent.socket.get(), &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0) return errno == EAGAIN || errno == EINTR;
    for (cmsghdr* one = CMSG_FIRSTHDR(&message); one != nullptr; one = CMSG_NXTHDR(&message, one)) {
      if (one->cmsg_level != SOL_SOCKET || one->cmsg_type != SCM_RIGHTS) continue;
      const std::size_t count = (one->cmsg_len - CMSG_LEN(0)) / sizeof(int);
      for (std::size_t i = 0; i < count; ++i) {
        int fd = -1;
        std::memcpy(&fd, CMSG_DATA(one) + i * sizeof fd, sizeof fd);
        silent.descriptors.emplace_back(fd);
      }
    }
    silent.bytes.append(bytes.data(), static_cast<std::size_t>(got));
    return got > 0 && (message.msg_flags & MSG_CTRUNC) == 0 &&
           silent.descriptors.size() <= kMostHelloDescriptors;
  }

  SocketFile file_;
  const base::UniqueFd listener_;
  const base::UniqueFd epoll_;
  base::UniqueFd spare_;
  const Kind kind_;
  const std::string token_;
  std::list<Silent> silent_;
  std::atomic<std::uint64_t> turned_away_{0};  // relaxed: a count, it publishes nothing
};

// Removes the file of a listener that has died. One at a time for a directory: of two that start,
// one would remove what the other has just made.
Result<base::UniqueFd> listen_anew(const Address& address, SocketFile& file) {
  const base::UniqueFd directory(
      ::open(address.directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (directory) ::flock(directory.get(), LOCK_EX);  // released when closed
  const base::UniqueFd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  struct stat status {};
  // Connecting to a plain file is refused, too.
  const bool is_socket =
      directory &&
      ::fstatat(directory.get(), address.name.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0 &&
      S_ISSOCK(status.st_mode);
  if (is_socket && probe && connect_socket(probe.get(), file.path()) == ECONNREFUSED)
    ::unlinkat(directory.get(), address.name.c_str(), 0);
  return file.listen();
}

}  // namespace

std::string encode(const Hello& hello) {
  std::string bytes(kHelloBytes, '\0');
  std::memcpy(bytes.data(), kMagic, sizeof kMagic);
  bytes[kVersionAt] = static_cast<char>(kVersion);
  bytes[kKindAt] = static_cast<char>(hello.kind);
  bytes[kTokenSizeAt] = static_cast<char>(hello.token.size());
  for (std::size_t i = 0; i < 4; ++i)
    bytes[kWindowAt + i] = static_cast<char>(hello.window_bytes >> (8 * i));
  for (std::size_t i = 0; i < 8; ++i) bytes[kIdAt + i] = static_cast<char>(hello.id >> (8 * i));
  hello.token.copy(bytes.data() + kTokenAt, kMostTokenBytes);
  return bytes;
}

Result<Hello> decode_hello(const std::string& bytes) {
  const auto byte = [&bytes](std::size_t at) { return static_cast<unsigned char>(bytes[at]); };
  if (bytes.size() != kHelloBytes || std::memcmp(bytes.data(), kMagic, sizeof kMagic) != 0)
    return fail(Code::kProtocolError, "no hello of this protocol");
  if (byte(kVersionAt) != kVersion)
    return fail(Code::kVersionMismatch, "version {} of the data plane; here it is {}",
                byte(kVersionAt), kVersion);
  const std::size_t token_size = byte(kTokenSizeAt);
  const auto kind = static_cast<Kind>(byte(kKindAt));
  if (token_size > kMostTokenBytes || name_of(kind).empty())
    return fail(Code::kProtocolError, "a hello with nonsense in it");
  Hello hello{.kind = kind, .token = bytes.substr(kTokenAt, token_size)};
  for (std::size_t i = 0; i < 4; ++i)
    hello.window_bytes |= std::uint32_t{byte(kWindowAt + i)} << (8 * i);
  for (std::size_t i = 0; i < 8; ++i) hello.id |= std::uint64_t{byte(kIdAt + i)} << (8 * i);
  return hello;
}

Result<base::UniqueFd> meet(const Address& address, const Hello& hello,
                            const std::vector<int>& descriptors) {
  auto file = SocketFile::open(address);
  if (!file) return fail(std::move(file.error()));
  base::UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!socket)
    return fail(Code::kResourceExhausted, "can't create a socket: {}", std::strerror(errno));
  if (const int error = connect_socket(socket.get(), file->path()); error != 0)
    return fail(code_of_connect(error), "can't connect to '{}/{}': {}", address.directory,
                address.name, std::strerror(error));
  std::string bytes = encode(hello);
  iovec part{.iov_base = bytes.data(), .iov_len = bytes.size()};
  Control control{};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  if (!descriptors.empty()) {
    message.msg_control = control.bytes;
    message.msg_controllen = CMSG_SPACE(descriptors.size() * sizeof(int));
    cmsghdr* const header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(descriptors.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), descriptors.data(), descriptors.size() * sizeof(int));
  }
  ssize_t sent = -1;
  do {
    sent = ::sendmsg(socket.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent != static_cast<ssize_t>(bytes.size()))
    return fail(Code::kUnavailable, "'{}/{}' has hung up: {}", address.directory, address.name,
                std::strerror(errno));
  ::fcntl(socket.get(), F_SETFL, O_NONBLOCK);
  return socket;
}

Result<std::unique_ptr<Door>> Door::open(const Address& address, Kind kind, std::string token) {
  if (token.size() > kMostTokenBytes)
    return fail(Code::kInvalidArgument, "a token of {} bytes; at most {}", token.size(),
                kMostTokenBytes);
  auto file = SocketFile::open(address);
  if (!file) return fail(std::move(file.error()));
  auto listener = listen_anew(address, *file);
  if (!listener) return fail(std::move(listener.error()));
  const int listening = listener->get();
  auto door = std::make_unique<LocalDoor>(std::move(*file), std::move(*listener),
                                          base::UniqueFd(::epoll_create1(EPOLL_CLOEXEC)), kind,
                                          std::move(token));
  if (!door->watch(listening))
    return fail(Code::kResourceExhausted, "can't watch a socket: {}", std::strerror(errno));
  return door;
}

}  // namespace bulkhead::transport
