#include "host/spawn.hpp"

#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <boost/process/args.hpp>
#include <boost/process/child.hpp>
#include <boost/process/error.hpp>
#include <boost/process/exe.hpp>
#include <boost/process/extend.hpp>
#include <cerrno>
#include <system_error>

namespace bulkhead::coordinator {
namespace {

namespace bp = boost::process;

struct WorkerSetup : bp::extend::handler {
  const SpawnRequest& request;
  int nothing;  // /dev/null

  WorkerSetup(const SpawnRequest& with, int null_fd) : request(with), nothing(null_fd) {}

  // In the child, between fork and exec. A child that can't be set up must not run at all.
  template <class Executor>
  void on_exec_setup(Executor&) const {
    constexpr int kSetupFailed = 126;
    if (::setsid() < 0) ::_exit(kSetupFailed);
    if (::dup2(nothing, 0) < 0 || ::dup2(request.out, 1) < 0 || ::dup2(request.err, 2) < 0 ||
        ::dup2(request.lifeline, 3) < 0)
      ::_exit(kSetupFailed);
    if (request.crash_page < 0) {
      ::close(4);
    } else if (::dup2(request.crash_page, 4) < 0) {
      ::_exit(kSetupFailed);
    }
    struct sigaction plain {};
    plain.sa_handler = SIG_DFL;
    for (int number = 1; number < NSIG; ++number) ::sigaction(number, &plain, nullptr);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    // Marked and not closed: Boost.Process still needs its pipe to report a failed exec. Where the
    // kernel lacks the call nothing is lost, for all we open is close-on-exec already.
    ::syscall(SYS_close_range, 5u, ~0u, CLOSE_RANGE_CLOEXEC);
  }

  // In the parent, when there is no process: Boost.Process does not wait for a child whose exec
  // failed.
  template <class Executor>
  void on_error(Executor& executor, const std::error_code&) const {
    if (executor.pid <= 0) return;
    while (::waitpid(executor.pid, nullptr, 0) < 0 && errno == EINTR) {
    }
  }
};

}  // namespace

Spawned spawn_worker(const SpawnRequest& request) {
  const int nothing = ::open("/dev/null", O_RDWR | O_CLOEXEC);
  if (nothing < 0) return {-1, errno};
  Spawned result;
  try {
    std::error_code error;
    bp::child child(bp::exe = request.executable, bp::args = request.arguments, error,
                    WorkerSetup(request, nothing));
    if (error) {
      result.error_number = error.value();
    } else {
      result.pid = child.id();
      child.detach();
    }
  } catch (const std::system_error& failure) {
    result.error_number = failure.code().value();
  }
  ::close(nothing);
  return result;
}

}  // namespace bulkhead::coordinator
