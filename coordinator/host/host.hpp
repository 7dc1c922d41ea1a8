// Launches and watches workers. The seam between the coordinator and the machine: local_host.cpp is
// this machine, simulated ones serve tests. Single-threaded: one thread calls everything.
#pragma once

#include <sys/types.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

namespace bulkhead::coordinator {

struct WorkerKey {
  std::uint32_t worker = 0;
  std::uint32_t incarnation = 0;
  friend auto operator<=>(const WorkerKey&, const WorkerKey&) = default;
};

struct LaunchSpec {
  WorkerKey key;
  std::string executable;
  std::vector<std::string> arguments;
  base::UniqueFd lifeline;  // the worker's end; becomes its descriptor 3
  int crash_page = -1;      // borrowed until launch() returns; becomes its descriptor 4; -1: none
  // Forked from a process that has loaded the executable before, where that serves forks: the same
  // worker sooner. One with arguments is always started by exec.
  bool fork = false;
  bool capture_stdout = false;  // into HostExited::output (at most 1 MiB); else stdout joins stderr
  std::string log;              // file for all of stderr, and of stdout where it joins; "": none
};

struct HostLaunched {
  WorkerKey key;
  pid_t pid = 0;
};
struct HostLaunchFailed {
  WorkerKey key;
  // kNotFound, kPermissionDenied, …: names the executable. kUnavailable: what launches died while
  // it did; the worker may have lived for a moment and is gone.
  Error error;
};
struct Usage {
  double user_seconds = 0;
  double system_seconds = 0;
  std::uint64_t voluntary_switches = 0;
  std::uint64_t involuntary_switches = 0;
  std::uint64_t minor_faults = 0;
  std::uint64_t major_faults = 0;
  // Of the process's whole life, so at least what its parent had when it forked.
  double peak_rss_bytes = 0;
};
struct HostExited {
  WorkerKey key;
  // Exactly one of exit_code and signal, or neither when nobody could learn the cause.
  std::optional<int> exit_code;
  std::optional<int> signal;
  base::TimePoint detected;        // when the pidfd became readable
  std::optional<Usage> usage;      // nothing when nobody could learn it
  std::string output;              // captured stdout
  std::string stderr_tail;         // the last 4 KiB, any bytes
  std::optional<std::string> log;  // where all of it is; nothing without LaunchSpec::log or output
  unsigned strays_killed = 0;      // members of its group that outlived it
};
using HostEvent = std::variant<HostLaunched, HostLaunchFailed, HostExited>;

class Host {
 public:
  virtual ~Host() = default;

  // Readable when take_events() may have something.
  virtual int event_fd() const = 0;
  // Asynchronous: Launched or LaunchFailed follows, then exactly one Exited for each Launched.
  virtual Result<void> launch(LaunchSpec spec) = 0;
  // Never blocks. An Exited comes after the captured output and stderr were read to their end (or
  // for at most 100 ms where a stray holds the pipe open).
  virtual std::vector<HostEvent> take_events() = 0;
  // To the worker alone. Nothing happens when it is already gone.
  virtual void signal(WorkerKey key, int signal_number) = 0;
  // SIGKILL to the worker's process group.
  virtual void kill_group(WorkerKey key) = 0;
  // Proportional set size now, from /proc; nothing when it can't be read.
  virtual std::optional<double> pss_bytes(WorkerKey key) const = 0;
  // Resident set size now, likewise; cheaper.
  virtual std::optional<double> resident_bytes(WorkerKey key) const = 0;
  // Kills what is left, reaps, sweeps strays. Returns when nothing that this host started is left.
  virtual void shutdown() = 0;
};

}  // namespace bulkhead::coordinator
