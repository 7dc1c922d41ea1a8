#include "interrupts.hpp"

#include <signal.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <cerrno>

namespace bulkhead::coordinator {

Interrupts::Interrupts() {
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a file beyond `ulimit -f`: the write fails and says so
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, SIGINT);
  sigaddset(&set, SIGTERM);
  sigaddset(&set, SIGHUP);
  BULKHEAD_CHECK(sigprocmask(SIG_BLOCK, &set, nullptr) == 0, "sigprocmask: errno {}", errno);
  fd_ = base::UniqueFd(signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
  BULKHEAD_CHECK(fd_.get() >= 0, "signalfd: errno {}", errno);
}

int Interrupts::poll() {
  signalfd_siginfo info{};
  while (read(fd_.get(), &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    ++count_;
    if (first_ == 0) first_ = info.ssi_signo == SIGINT ? SIGINT : SIGTERM;
  }
  return count_;
}

}  // namespace bulkhead::coordinator
