#include "proto/transport/unix.hpp"

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace bulkhead::transport {
namespace {

iovec part_of(const char* bytes, std::size_t size) {
  return {.iov_base = const_cast<char*>(bytes), .iov_len = size};
}

}  // namespace

UnixStream::UnixStream(base::UniqueFd socket, std::size_t window_bytes)
    : socket_(std::move(socket)), buffer_(std::max(window_bytes, 2 * kMostContiguous)) {}

Outcome UnixStream::flush() {
  write({}, {});
  return unflushed() == 0 ? Outcome::kDone : Outcome::kWait;
}

std::size_t UnixStream::write(std::string_view first, std::string_view second) {
  std::size_t done = 0;  // of the two
  while (unflushed() > 0 || done < first.size() + second.size()) {
    const std::string_view waiting = buffer_.waiting();
    const std::size_t of_first = std::min(done, first.size());
    const std::size_t of_second = done - of_first;
    std::array<iovec, 3> parts{part_of(waiting.data(), waiting.size()),
                               part_of(first.data() + of_first, first.size() - of_first),
                               part_of(second.data() + of_second, second.size() - of_second)};
    msghdr message{};
    message.msg_iov = parts.data();
    message.msg_iovlen = parts.size();
    const ssize_t sent = ::sendmsg(socket_.get(), &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent < 0) {
      if (errno == EINTR) continue;
      if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) cut_ = true;
      return done;
    }
    const std::size_t of_buffer = std::min(static_cast<std::size_t>(sent), waiting.size());
    buffer_.take(of_buffer);
    done += static_cast<std::size_t>(sent) - of_buffer;
  }
  return done;
}

std::size_t UnixStream::read(char* to, std::size_t size) {
  if (ended_ || std::exchange(drained_, false)) return 0;
  for (;;) {
    const ssize_t got = ::recv(socket_.get(), to, size, MSG_DONTWAIT);
    if (got > 0) {
      drained_ = static_cast<std::size_t>(got) < size;
      return static_cast<std::size_t>(got);
    }
    if (got < 0 && errno == EINTR) continue;
    ended_ = got == 0 || errno != EAGAIN;
    return 0;
  }
}

}  // namespace bulkhead::transport
