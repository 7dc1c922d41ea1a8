// The launcher's end of a fork server: a process that has loaded a worker's executable once and
// forks a worker from itself for each request, set up like one that exec started. What a cold start
// mostly is, dynamic linking, is then paid once; the linked pages are shared until written to.
//
// The server forks twice and the one in between ends, so that the worker becomes a child of its
// nearest subreaper, the launcher, which reaps it and reads its cause as it does for any other.
#pragma once

#include <sys/types.h>

#include <bulkhead/base/unique_fd.hpp>
#include <cstdint>
#include <optional>
#include <set>
#include <string>

#include "host/spawn.hpp"

namespace bulkhead::coordinator {

// One server at a time, for the executable that was asked for last. Single-threaded; blocks its
// caller while a server starts (at most 10 s) or forks.
class ForkServer {
 public:
  // `hang_up` is a socket: what waits here ends when its other end is closed.
  explicit ForkServer(int hang_up) : hang_up_(hang_up) {}
  ~ForkServer() { stop(); }
  ForkServer(const ForkServer&) = delete;
  ForkServer& operator=(const ForkServer&) = delete;

  // Like spawn_worker(), for a request without arguments. Nothing: this executable serves no forks
  // (it is no worker, ends before it serves, runs threads before its main() does), or not now;
  // spawn_worker() then shows why, or works. EOWNERDEAD: the server died over it, and a worker may
  // have begun.
  std::optional<Spawned> spawn(const SpawnRequest& request);

  pid_t pid() const { return pid_; }  // -1: none
  // The caller has reaped this process: forgets it if it was the server.
  void reaped(pid_t pid);
  // Kills the server. Reaping it is left to whoever reaps everything.
  void stop();

 private:
  enum class Start { kReady, kUnable, kNotNow };
  Start start(const std::string& executable);
  template <class Message>
  bool receive(Message& message);

  const int hang_up_;
  pid_t pid_ = -1;
  base::UniqueFd socket_;
  std::string executable_;
  std::uint64_t last_request_ = 0;
  std::set<std::string> unable_;
  int unheard_ = 0;  // workers in a row that died before they could answer
};

}  // namespace bulkhead::coordinator
