// A peer that speaks no protocol of ours.
#pragma once

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <bulkhead/base/unique_fd.hpp>
#include <string>

namespace bulkhead::test {

// A blocking socket, connected to the local one at `path`, which fits an address; a failure of the
// test otherwise.
inline base::UniqueFd connect_raw(const std::string& path) {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  path.copy(to.sun_path, sizeof to.sun_path - 1);
  EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0) << path;
  return fd;
}

}  // namespace bulkhead::test
