// The coordinator's end of a launcher: starts the process, sends without blocking, receives.
#pragma once

#include <bulkhead/v1/launcher.pb.h>
#include <sys/types.h>

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/wire/packets.hpp>
#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace bulkhead::coordinator {

// One launcher process. Whoever destroys a link has reaped its process before (see end()).
class LauncherLink {
 public:
  // From the main thread: the launcher's parent-death signal follows the thread.
  static Result<std::unique_ptr<LauncherLink>> start(const std::string& executable);

  pid_t pid() const { return pid_; }
  int pidfd() const { return pidfd_.get(); }
  int socket() const { return socket_.get(); }

  // Queued while the socket is full. The descriptors are borrowed until the launcher has answered.
  void send(const v1::ToLauncher& message, std::vector<int> fds = {});
  // Sends what is queued; true when something still is.
  bool flush();
  // See receive_packet.
  wire::Received receive(v1::FromLauncher& message, std::vector<base::UniqueFd>& fds);
  // Kills the process if it still lives, and reaps it. What it sent before can still be received.
  void end();

 private:
  LauncherLink() = default;

  struct Packet {
    std::string bytes;
    std::vector<int> fds;
  };
  pid_t pid_ = -1;
  base::UniqueFd pidfd_;
  base::UniqueFd socket_;
  std::deque<Packet> queue_;
};

}  // namespace bulkhead::coordinator
