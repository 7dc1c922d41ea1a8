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
    : socket_(std::move(socket)),
      capacity_(std::max(window_bytes, 2 * kMostContiguous)),
      buffer_(new char[capacity_]) {}

char* UnixStream::reserve(std::size_t size) {
  if (begin_ == end_) begin_ = end_ = 0;
  if (capacity_ - end_ < size && begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= std::exchange(begin_, 0);
  }
  return capacity_ - end_ < size ? nullptr : buffer_.get() + end_;
}

Outcome UnixStream::flush() {
  write({}, {});
  return begin_ == end_ ? Outcome::kDone : Outcome::kWait;
}

std::size_t UnixStream::write(std::string_view first, std::string_view second) {
  std::size_t done = 0;  // of the two
  while (begin_ < end_ || done < first.size() + second.size()) {
    const std::size_t of_first = std::min(done, first.size());
    const std::size_t of_second = done - of_first;
    std::array<iovec, 3> parts{part_of(buffer_.get() + begin_, end_ - begin_),
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
    const std::size_t of_buffer = std::min(static_cast<std::size_t>(sent), end_ - begin_);
    begin_ += of_buffer;
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
