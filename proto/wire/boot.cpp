// The boot message over the lifeline: written by the coordinator before the worker runs, read by
// the worker as its first act. After a failure on either side the lifeline may hold half a message:
// it is of no further use.
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "proto/wire/little_endian.hpp"

namespace bulkhead::wire {
namespace {

constexpr std::size_t kMaxBootBytes = 16u << 20;

int send_buffer(int fd) {
  int size = 0;
  socklen_t length = sizeof size;
  ::getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, &length);
  return size;
}

// Room for `bytes` that nobody reads yet. Failures are ignored: the send that follows finds out,
// and says so.
void grow_send_buffer(int fd, std::size_t bytes) {
  // The kernel charges the whole buffers that hold the bytes; twice covers that.
  const int wanted = static_cast<int>(bytes * 2 + 65536);
  if (send_buffer(fd) >= wanted) return;
  // FORCE passes net.core.wmem_max, but needs a privilege.
  if (::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &wanted, sizeof wanted) == 0) return;
  ::setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &wanted, sizeof wanted);
}

// Milliseconds for poll(), rounded up so that the last wait is not a busy one.
int poll_timeout(base::TimePoint deadline) {
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(deadline - base::Clock::now()).count();
  return static_cast<int>(std::clamp<std::int64_t>(left, 0, 1'000'000'000));
}

Result<void> read_exactly(int fd, char* to, std::size_t size, base::TimePoint deadline) {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got = ::recv(fd, to + done, size - done, MSG_DONTWAIT);
    if (got > 0) {
      done += static_cast<std::size_t>(got);
    } else if (got == 0) {
      return fail(Code::kUnavailable,
                  "the lifeline (descriptor {}) was closed before the boot message was whole", fd);
    } else if (errno == EAGAIN) {
      pollfd item{fd, POLLIN, 0};
      const int ready = ::poll(&item, 1, poll_timeout(deadline));
      if (ready == 0) {
        return fail(Code::kTimedOut, "no whole boot message came over the lifeline in time");
      }
      if (ready < 0 && errno != EINTR) {
        return fail(Code::kIoError, "poll on the lifeline: {}", std::strerror(errno));
      }
      // A stream of signals must not stretch the deadline.
      if (ready < 0 && base::Clock::now() >= deadline) {
        return fail(Code::kTimedOut, "no whole boot message came over the lifeline in time");
      }
    } else if (errno == ECONNRESET) {
      return fail(Code::kUnavailable, "the other end of the lifeline died");
    } else if (errno != EINTR) {
      return fail(Code::kIoError, "cannot read the lifeline (descriptor {}): {}", fd,
                  std::strerror(errno));
    }
  }
  return {};
}

}  // namespace

Result<void> write_boot(int lifeline, const v1::Boot& boot) {
  const Result<std::string> body = encode(boot, kMaxBootBytes);
  if (!body) return fail(body.error());
  std::string bytes;
  bytes.reserve(4 + body->size());
  append_u32(bytes, static_cast<std::uint32_t>(body->size()));
  bytes += *body;

  grow_send_buffer(lifeline, bytes.size());
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t sent =
        ::send(lifeline, bytes.data() + done, bytes.size() - done, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0) {
      done += static_cast<std::size_t>(sent);
    } else if (errno == EAGAIN) {
      return fail(Code::kTooLarge,
                  "a boot message of {} bytes does not fit the socket buffer of {}: give fewer "
                  "inputs (a folder instead of its files), or raise net.core.wmem_max",
                  bytes.size(), send_buffer(lifeline));
    } else if (errno == EPIPE || errno == ECONNRESET) {
      return fail(Code::kUnavailable, "the other end of the lifeline is closed");
    } else if (errno != EINTR) {
      return fail(Code::kIoError, "cannot write the boot message: {}", std::strerror(errno));
    }
  }
  return {};
}

Result<v1::Boot> read_boot(int lifeline, double timeout_seconds) {
  // About eleven days stand for "none"; a NaN or a negative number is a deadline that has passed.
  const double seconds = timeout_seconds > 0 ? std::min(timeout_seconds, 1e6) : 0;
  const base::TimePoint deadline = base::Clock::now() + std::chrono::duration_cast<base::Duration>(
                                                            std::chrono::duration<double>(seconds));

  std::string bytes(4, '\0');
  if (auto read = read_exactly(lifeline, bytes.data(), bytes.size(), deadline); !read) {
    return fail(read.error());
  }
  const std::uint32_t size = read_u32(bytes);
  if (size == 0 || size > kMaxBootBytes) {
    return fail(Code::kProtocolError, "a boot message cannot have {} bytes (1 to {})", size,
                kMaxBootBytes);
  }
  bytes.resize(size);
  if (auto read = read_exactly(lifeline, bytes.data(), bytes.size(), deadline); !read) {
    return fail(read.error());
  }
  v1::Boot boot;
  if (!boot.ParseFromArray(bytes.data(), static_cast<int>(bytes.size()))) {
    return fail(Code::kProtocolError, "{} bytes on the lifeline are not a boot message", size);
  }
  return boot;
}

}  // namespace bulkhead::wire
