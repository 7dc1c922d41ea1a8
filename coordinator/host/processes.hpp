// Children by waitid and pidfd, and the process table. What glibc lacks is called by number.
#pragma once

#include <sys/types.h>

#include <bulkhead/base/unique_fd.hpp>
#include <functional>
#include <optional>
#include <vector>

#include "host/host.hpp"

namespace bulkhead::coordinator {

base::UniqueFd open_pidfd(pid_t pid);
// False when the process is gone.
bool send_signal(int pidfd, int signal_number);

// How a child stands. `pid` is 0 while none has ended; `error_number` is ECHILD when there is no
// such child (any more).
struct ChildEnd {
  int error_number = 0;
  pid_t pid = 0;
  int code = 0;    // CLD_EXITED, CLD_KILLED, CLD_DUMPED
  int status = 0;  // exit code or signal
  Usage usage;
};
enum class Collect { kPeek, kReap };
// Never blocks. A peek leaves the zombie, and with it the pid and the group, in place.
ChildEnd any_child(Collect collect);
ChildEnd child_by_pid(pid_t pid, Collect collect);
ChildEnd child_by_pidfd(int pidfd, Collect collect);

struct Process {
  pid_t pid = 0;
  pid_t parent = 0;
  pid_t group = 0;
  bool alive = false;  // not a zombie
};
// One reading of /proc: every process of the machine, milliseconds where there are many.
std::vector<Process> list_processes();
// Whether the calling thread, the only one of its process, may have a child that is not `known`:
// microseconds, where the kernel lists children (CONFIG_PROC_CHILDREN; elsewhere true). A child
// that ends meanwhile can hide another from it, so what must be sure looks at list_processes().
bool may_have_strays(const std::function<bool(pid_t)>& known);
// Whether `pid` is `ancestor` or was started, by however many steps, by it. False when it is gone.
bool descends_from(pid_t pid, pid_t ancestor);
// Its share of the memory that it maps; nullopt when it is gone or the kernel does not say.
std::optional<double> pss_bytes_of(pid_t pid);
std::optional<double> resident_bytes_of(pid_t pid);

// SIGKILL to the group of a leader that has not been reaped. 0 and 1 would mean everybody: checked.
void kill_process_group(pid_t leader);
// SIGKILL to the group of `leader`, which the caller must not have reaped yet (so that its number
// is still its own). Returns how many living members other than the leader were in it.
unsigned kill_group_of(pid_t leader, const std::vector<Process>& table);
// SIGKILL to every child of the caller that is not `known`, and to the group it leads. Only living
// ones outside `counted_group` are counted.
unsigned kill_strays(const std::function<bool(pid_t)>& known, const std::vector<Process>& table,
                     pid_t counted_group = 0);

}  // namespace bulkhead::coordinator
