// Pipes and sockets for the tests of wait_readable() and wait_writable().
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/unique_fd.hpp>

namespace bulkhead::sched {

// What is written at `in` comes out at `out`; of a socket pair both ends do both.
struct Ends {
  base::UniqueFd out, in;
};

inline Ends make_pipe() {
  int fds[2];
  BULKHEAD_CHECK(::pipe2(fds, O_CLOEXEC | O_NONBLOCK) == 0, "pipe2");
  return {base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

inline Ends make_sockets() {
  int fds[2];
  BULKHEAD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fds) == 0,
                 "socketpair");
  return {base::UniqueFd(fds[0]), base::UniqueFd(fds[1])};
}

// So that its buffer is soon full.
inline void make_narrow(const base::UniqueFd& socket) {
  const int bytes = 1;  // the kernel takes the least it can
  BULKHEAD_CHECK(::setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes) == 0,
                 "SO_SNDBUF");
}

// So many at least, if the system lets us.
inline void allow_descriptors(rlim_t count) {
  rlimit limit{};
  BULKHEAD_CHECK(::getrlimit(RLIMIT_NOFILE, &limit) == 0, "getrlimit");
  if (limit.rlim_cur >= count) return;
  limit.rlim_cur = std::min(count, limit.rlim_max);
  BULKHEAD_CHECK(::setrlimit(RLIMIT_NOFILE, &limit) == 0, "setrlimit");
}

inline void put(const base::UniqueFd& fd, char value = 'x') {
  ASSERT_EQ(::write(fd.get(), &value, 1), 1);
}

// What comes next; 0: nothing, or the end.
inline char get(const base::UniqueFd& fd) {
  char value = 0;
  return ::read(fd.get(), &value, 1) == 1 ? value : '\0';
}

inline void fill(const base::UniqueFd& fd) {
  const char block[4096] = {};
  while (::write(fd.get(), block, sizeof block) > 0) {
  }
}

inline void drain(const base::UniqueFd& fd) {
  char block[4096];
  while (::read(fd.get(), block, sizeof block) > 0) {
  }
}

}  // namespace bulkhead::sched
