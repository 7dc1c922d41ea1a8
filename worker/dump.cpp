#include "dump.hpp"

#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstdint>

namespace bulkhead::worker {
namespace {

volatile sig_atomic_t g_descriptor = -1;  // for the handler

void on_quit(int) {
  const int saved_errno = errno;
  const std::uint64_t one = 1;
  static_cast<void>(!write(g_descriptor, &one, sizeof one));
  errno = saved_errno;
}

}  // namespace

int catch_dump_requests() {
  const int descriptor = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  BULKHEAD_CHECK(descriptor >= 0, "eventfd: errno {}", errno);
  g_descriptor = descriptor;
  struct sigaction action {};
  action.sa_handler = on_quit;
  action.sa_flags = SA_RESTART | SA_ONSTACK;
  sigaction(SIGQUIT, &action, nullptr);
  return descriptor;
}

bool take_dump_request(int descriptor) {
  std::uint64_t count = 0;
  return read(descriptor, &count, sizeof count) == sizeof count;
}

}  // namespace bulkhead::worker
