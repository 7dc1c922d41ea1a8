#include "host/strays.hpp"

#include <poll.h>
#include <unistd.h>

#include <bulkhead/base/unique_fd.hpp>
#include <vector>

#include "host/processes.hpp"

namespace bulkhead::coordinator {

void kill_own_strays(const std::set<pid_t>& known) {
  const std::vector<Process> table = list_processes();
  kill_strays([&known](pid_t pid) { return known.contains(pid); }, table);
  for (const Process& process : table)
    if (process.parent == ::getpid() && !known.contains(process.pid))
      child_by_pid(process.pid, Collect::kReap);
}

void end_own_strays(const std::set<pid_t>& known, base::Duration patience) {
  const base::TimePoint deadline = base::Clock::now() + patience;
  do {
    kill_own_strays(known);
    base::UniqueFd stray;
    for (const Process& process : list_processes())
      if (process.parent == ::getpid() && !known.contains(process.pid)) {
        stray = open_pidfd(process.pid);
        break;
      }
    if (!stray) return;
    pollfd waiting{stray.get(), POLLIN, 0};
    ::poll(&waiting, 1, 50);
  } while (base::Clock::now() < deadline);
}

}  // namespace bulkhead::coordinator
