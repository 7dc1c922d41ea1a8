#include "host/fork_server.hpp"

#include <bulkhead/v1/launcher.pb.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/packets.hpp>
#include <cerrno>
#include <vector>

#include "host/processes.hpp"

namespace bulkhead::coordinator {
namespace {

// A server that takes longer to start, or to fork, is taken for one that never will.
constexpr std::chrono::seconds kPatience{10};
constexpr int kMostUnheard = 3;

}  // namespace

std::optional<Spawned> ForkServer::spawn(const SpawnRequest& request) {
  if (unable_.contains(request.executable)) return std::nullopt;
  v1::ForkRequest message;
  message.set_number(++last_request_);
  const std::vector<int> fds{request.lifeline, request.out, request.err, request.crash_page};
  // A server that somebody killed since the last fork is started again, once.
  for (int round = 0; round < 2; ++round) {
    // Its end of the socket may live on for a moment in what it had just forked.
    if (pid_ > 0 && child_by_pid(pid_, Collect::kPeek).pid == pid_) stop();
    if (pid_ < 0 || executable_ != request.executable) {
      const Start started = start(request.executable);
      if (started == Start::kUnable) unable_.insert(request.executable);
      if (started != Start::kReady) return std::nullopt;
    }
    if (wire::send_packet(socket_.get(), message.SerializeAsString(), fds, 0) != 0) {
      stop();
      continue;
    }
    v1::ForkAnswer answer;
    do {
      if (!receive(answer)) {
        stop();
        return Spawned{-1, EOWNERDEAD};
      }
    } while (answer.number() != message.number());
    if (answer.error_number() == ECHILD) {
      // Killed by somebody, or by what it does at each fork: exec serves, and soon for good.
      if (++unheard_ >= kMostUnheard) unable_.insert(request.executable);
      return std::nullopt;
    }
    unheard_ = 0;
    if (answer.error_number() != 0) return Spawned{-1, answer.error_number()};
    return Spawned{static_cast<pid_t>(answer.pid()), 0};
  }
  return std::nullopt;
}

ForkServer::Start ForkServer::start(const std::string& executable) {
  stop();
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return Start::kNotNow;
  socket_ = base::UniqueFd(ends[0]);
  base::UniqueFd other(ends[1]);
  // What it prints before it serves is not a worker's. Descriptor 4 is kept for the crash page.
  const base::UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (!nothing) return Start::kNotNow;
  SpawnRequest request;
  request.executable = executable;
  request.arguments = {wire::kForkServerArgument};
  request.lifeline = other.get();
  request.out = request.err = request.crash_page = nothing.get();
  const Spawned spawned = spawn_worker(request);
  other.reset();  // so that its end is heard
  if (spawned.error_number != 0) {
    const bool passing = spawned.error_number == EAGAIN || spawned.error_number == ENOMEM ||
                         spawned.error_number == EMFILE || spawned.error_number == ENFILE;
    return passing ? Start::kNotNow : Start::kUnable;
  }
  pid_ = spawned.pid;
  executable_ = executable;
  v1::ForkAnswer ready;
  if (receive(ready) && ready.number() == 0) return Start::kReady;
  stop();
  return Start::kUnable;
}

template <class Message>
bool ForkServer::receive(Message& message) {
  const base::TimePoint deadline = base::Clock::now() + kPatience;
  std::vector<base::UniqueFd> fds;
  for (;;) {
    switch (wire::receive_packet(socket_.get(), message, fds)) {
      case wire::Received::kPacket:
        return true;
      case wire::Received::kClosed:
        return false;
      case wire::Received::kNothing:
        break;
    }
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - base::Clock::now()).count();
    pollfd ready[] = {{socket_.get(), POLLIN, 0}, {hang_up_, 0, 0}};
    if (left <= 0 || (::poll(ready, 2, static_cast<int>(left)) > 0 && ready[1].revents != 0))
      return false;
  }
}

void ForkServer::reaped(pid_t pid) {
  if (pid != pid_) return;
  pid_ = -1;
  socket_.reset();
}

void ForkServer::stop() {
  socket_.reset();
  // Its own session's group: the server, and a process in between that is about to end.
  if (pid_ > 0) kill_process_group(pid_);
  pid_ = -1;
}

}  // namespace bulkhead::coordinator
