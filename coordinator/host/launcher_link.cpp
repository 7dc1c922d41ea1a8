#include "host/launcher_link.hpp"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "host/processes.hpp"

namespace bulkhead::coordinator {
namespace {

// The launcher gets a session of its own, so that Ctrl-C reaches the coordinator alone, default
// signal handling, the socket as descriptor 3 and nothing to read from or print to but stderr.
int spawn_launcher(const std::string& executable, int socket, pid_t& pid) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attributes;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attributes);
  // The socket first: its number may be 0 or 1 in a process that was started without them.
  ::posix_spawn_file_actions_adddup2(&actions, socket, 3);
  ::posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
  ::posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
  sigset_t none, all;
  ::sigemptyset(&none);
  ::sigfillset(&all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setflags(&attributes,
                             POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
  std::string name = "bulkhead", command = "__launcher", parent = std::to_string(::getpid());
  char* arguments[] = {name.data(), command.data(), parent.data(), nullptr};
  const int error =
      ::posix_spawn(&pid, executable.c_str(), &actions, &attributes, arguments, environ);
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&actions);
  return error;
}

}  // namespace

Result<std::unique_ptr<LauncherLink>> LauncherLink::start(const std::string& executable) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return fail(Code::kResourceExhausted, "no socket for the launcher: {}", std::strerror(errno));
  std::unique_ptr<LauncherLink> link(new LauncherLink());
  link->socket_ = base::UniqueFd(ends[0]);
  const base::UniqueFd other(ends[1]);
  if (const int error = spawn_launcher(executable, other.get(), link->pid_); error != 0)
    return fail(Code::kUnavailable, "the launcher '{}' cannot be started: {}", executable,
                std::strerror(error));
  link->pidfd_ = open_pidfd(link->pid_);
  if (!link->pidfd_) {
    const int error = errno;
    link->end();
    return fail(Code::kResourceExhausted, "the launcher cannot be watched: {}",
                std::strerror(error));
  }
  return link;
}

void LauncherLink::send(const v1::ToLauncher& message, std::vector<int> fds) {
  queue_.push_back({message.SerializeAsString(), std::move(fds)});
  flush();
}

bool LauncherLink::flush() {
  while (!queue_.empty()) {
    const Packet& packet = queue_.front();
    const int error = wire::send_packet(socket_.get(), packet.bytes, packet.fds, MSG_DONTWAIT);
    // ETOOMANYREFS: too many descriptors under way; it passes as the launcher reads.
    if (error == EAGAIN || error == EWOULDBLOCK || error == ETOOMANYREFS || error == ENOBUFS)
      return true;
    // Any other failure means that the launcher is gone; its pidfd tells, and what was asked for is
    // asked for again.
    queue_.pop_front();
  }
  return false;
}

wire::Received LauncherLink::receive(v1::FromLauncher& message, std::vector<base::UniqueFd>& fds) {
  return wire::receive_packet(socket_.get(), message, fds);
}

void LauncherLink::end() {
  if (pid_ <= 0) return;
  // Not reaped yet, so the number is still its own.
  ::kill(pid_, SIGKILL);
  while (::waitpid(pid_, nullptr, 0) < 0 && errno == EINTR) {
  }
  pid_ = -1;
}

}  // namespace bulkhead::coordinator
