#include <sys/socket.h>

#include <bulkhead/wire/packets.hpp>
#include <cerrno>
#include <cstring>

namespace bulkhead::wire {
namespace {

constexpr std::size_t kControlBytes = CMSG_SPACE(kMaxPacketFds * sizeof(int));

void take_fds(msghdr& header, std::vector<base::UniqueFd>& fds) {
  for (cmsghdr* part = CMSG_FIRSTHDR(&header); part != nullptr; part = CMSG_NXTHDR(&header, part)) {
    if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS) continue;
    const std::size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof fd);
      fds.emplace_back(fd);
    }
  }
}

}  // namespace

int send_packet(int socket, const std::string& bytes, const std::vector<int>& fds, int flags) {
  // An empty packet would read as the end of the stream.
  if (bytes.empty() || bytes.size() > kMaxPacketBytes || fds.size() > kMaxPacketFds)
    return EMSGSIZE;
  iovec data{const_cast<char*>(bytes.data()), bytes.size()};
  alignas(cmsghdr) char control[kControlBytes] = {};
  msghdr header{};
  header.msg_iov = &data;
  header.msg_iovlen = 1;
  if (!fds.empty()) {
    const std::size_t size = fds.size() * sizeof(int);
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(size);
    cmsghdr* part = CMSG_FIRSTHDR(&header);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(part), fds.data(), size);
  }
  while (::sendmsg(socket, &header, flags | MSG_NOSIGNAL) < 0)
    if (errno != EINTR) return errno;
  return 0;
}

Received receive_packet(int socket, google::protobuf::MessageLite& message,
                        std::vector<base::UniqueFd>& fds) {
  static thread_local char buffer[kMaxPacketBytes];
  for (;;) {
    fds.clear();
    iovec data{buffer, sizeof buffer};
    alignas(cmsghdr) char control[kControlBytes];
    msghdr header{};
    header.msg_iov = &data;
    header.msg_iovlen = 1;
    header.msg_control = control;
    header.msg_controllen = sizeof control;
    const ssize_t size = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (size < 0) {
      if (errno == EAGAIN || errno == EWOULDBLOCK) return Received::kNothing;
      // A peer that died with unread packets of ours gives one ECONNRESET before what it had sent;
      // that must not be lost.
      if (errno == EINTR || errno == ECONNRESET) continue;
      return Received::kClosed;
    }
    if (size == 0) return Received::kClosed;
    take_fds(header, fds);
    if (message.ParseFromArray(buffer, static_cast<int>(size))) return Received::kPacket;
  }
}

}  // namespace bulkhead::wire
