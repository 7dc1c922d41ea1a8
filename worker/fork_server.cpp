#include "fork_server.hpp"

#include <bulkhead/v1/launcher.pb.h>
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bulkhead/base/sanitizers.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <bulkhead/wire/packets.hpp>
#include <cerrno>
#include <cstdio>
#include <vector>

namespace bulkhead::worker {
namespace {

constexpr int kSocket = wire::kLifelineFd;
constexpr int kExitUnable = 70;

int answer(std::uint64_t number, pid_t pid, int error_number) {
  v1::ForkAnswer message;
  message.set_number(number);
  message.set_pid(static_cast<std::uint32_t>(pid));
  message.set_error_number(error_number);
  // A packet of default values would have no bytes, and read as the end of the stream.
  std::string bytes = message.SerializeAsString();
  if (bytes.empty()) bytes.assign("\x08\x00", 2);  // number: 0
  return wire::send_packet(kSocket, bytes, {}, 0);
}

// Tells the server that an answer was given, by a byte; a worker that dies before that leaves the
// end of the stream.
void confirm(base::UniqueFd& answered) {
  // The server may be dead: no reason to die of SIGPIPE with it.
  static_cast<void>(send(answered.get(), "!", 1, MSG_NOSIGNAL));
  answered.reset();
}

// In the new worker: the session and the descriptors that exec starts one with. The lifeline comes
// last, as it takes the socket's place.
bool become_worker(std::uint64_t number, const std::vector<base::UniqueFd>& fds,
                   base::UniqueFd& answered) {
  const bool ready = setsid() >= 0 && dup2(fds[1].get(), STDOUT_FILENO) >= 0 &&
                     dup2(fds[2].get(), STDERR_FILENO) >= 0 &&
                     dup2(fds[3].get(), wire::kCrashPageFd) >= 0;
  const int error_number = ready ? 0 : errno;
  const bool told = answer(number, getpid(), error_number) == 0;
  confirm(answered);
  return told && ready && dup2(fds[0].get(), wire::kLifelineFd) >= 0;
}

// True in the worker. Its parent ends at once, which hands it to the launcher.
bool fork_twice(std::uint64_t number, const std::vector<base::UniqueFd>& fds) {
  int ends[2] = {-1, -1};
  const bool joined = socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) == 0;
  base::UniqueFd answers(ends[0]);
  base::UniqueFd answered(ends[1]);
  const pid_t between = joined ? fork() : -1;
  if (between < 0) {
    answer(number, 0, errno);
    return false;
  }
  if (between > 0) {
    answered.reset();
    while (waitpid(between, nullptr, 0) < 0 && errno == EINTR) {
    }
    char confirmed = 0;
    ssize_t size = 0;
    while ((size = read(answers.get(), &confirmed, 1)) < 0 && errno == EINTR) {
    }
    if (size != 1) answer(number, 0, ECHILD);  // died unheard: nothing of the launch was used
    return false;
  }
  answers.reset();
  const pid_t worker = fork();
  if (worker == 0) {
    if (!become_worker(number, fds, answered)) _exit(kExitUnable);
    return true;
  }
  if (worker < 0) {
    answer(number, 0, errno);
    confirm(answered);
  }
  _exit(0);
}

}  // namespace

bool single_threaded() {
#if defined(BULKHEAD_TSAN)
  constexpr int kAllowed = 2;  // one is the sanitizer's own, which survives a fork
#else
  constexpr int kAllowed = 1;
#endif
  DIR* const tasks = opendir("/proc/self/task");
  if (tasks == nullptr) return false;
  int count = 0;
  while (const dirent* entry = readdir(tasks)) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count <= kAllowed;
}

std::optional<int> serve_forks() {
  if (!single_threaded()) return kExitUnable;
  transport::prepare_for_forks();
  if (answer(0, 0, 0) != 0) return kExitUnable;
  v1::ForkRequest request;
  std::vector<base::UniqueFd> fds;
  for (;;) {
    switch (wire::receive_packet(kSocket, request, fds)) {
      case wire::Received::kClosed:
        return 0;
      case wire::Received::kNothing: {
        pollfd waiting{kSocket, POLLIN, 0};
        poll(&waiting, 1, -1);
        continue;
      }
      case wire::Received::kPacket:
        break;
    }
    if (fds.size() != 4) {  // the kernel drops what finds no free number here
      answer(request.number(), 0, EMFILE);
    } else if (fork_twice(request.number(), fds)) {
      return std::nullopt;
    }
  }
}

}  // namespace bulkhead::worker
