// One worker as LocalHost sees it, from the wish to launch it to its HostExited.
#pragma once

#include <bulkhead/v1/launcher.pb.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "host/host.hpp"
#include "host/log_file.hpp"
#include "host/processes.hpp"

namespace bulkhead::coordinator {

// Reads a pipe without blocking, keeps a bounded part of it, and copies all of it to a log.
class PipeReader {
 public:
  enum class Keep { kHead, kTail };
  PipeReader(Keep keep, std::size_t limit) : keep_(keep), limit_(limit) {}

  // The end that the worker writes to; closed by the caller once the worker has it.
  Result<base::UniqueFd> open();
  int fd() const { return fd_.get(); }
  bool at_end() const { return !fd_; }
  // From now on. Without it nothing is copied.
  void log_to(LogFile log) { log_ = std::move(log); }
  const LogFile& log() const { return log_; }
  // What is there now, at most a few hundred KiB; closes at the end of the stream. Fails, once,
  // when the log can't be written; the rest goes on.
  Result<void> read_some();
  void close() { fd_.reset(); }
  std::string take();

 private:
  Keep keep_;
  std::size_t limit_;
  base::UniqueFd fd_;
  std::string kept_;
  LogFile log_;
};

struct WatchedWorker {
  // Who can read its cause.
  enum class State {
    kAsked,    // no answer yet; `spec` and the pipes' other ends are kept until it comes
    kHeld,     // child of the present launcher
    kAdopted,  // its launcher died: our own child
  };

  WorkerKey key;
  State state = State::kAsked;
  std::optional<LaunchSpec> spec;
  base::UniqueFd crash_page;  // our own duplicate, until the launcher has it
  base::UniqueFd out_writer;
  base::UniqueFd err_writer;

  pid_t pid = 0;
  base::UniqueFd pidfd;
  PipeReader out{PipeReader::Keep::kHead, 1u << 20};
  PipeReader err{PipeReader::Keep::kTail, 4u << 10};
  bool kill_wanted = false;

  std::optional<base::TimePoint> detected;   // its pidfd was readable
  std::optional<base::TimePoint> explained;  // the cause is known, or known to be lost
  std::optional<ChildEnd> end;
  unsigned strays_killed = 0;
};

// Its pipes and descriptors, before the launcher is asked for it.
Result<WatchedWorker> prepare(LaunchSpec spec);
// What to ask the launcher for a worker in kAsked, with its descriptors, borrowed.
v1::ToLauncher launch_request(const WatchedWorker& worker, std::vector<int>& fds);
Error launch_error(const WatchedWorker& worker, int error_number);
// A cause as the launcher tells it.
ChildEnd end_of(pid_t pid, const v1::ChildExited& exited);
// Takes the worker's output.
HostExited exit_of(WatchedWorker& worker);

}  // namespace bulkhead::coordinator
