// Strays: children of this process that are neither workers nor the launcher. A subreaper gets what
// dead workers and dead launchers leave behind.
#pragma once

#include <sys/types.h>

#include <bulkhead/base/clock.hpp>
#include <set>

namespace bulkhead::coordinator {

// SIGKILL to every child that is not `known`, and to the group it leads; reaps those that ended.
void kill_own_strays(const std::set<pid_t>& known);
// The same, also for those that they leave to us, until none is left or patience ends. The wait is
// short: only what hangs in the kernel survives a SIGKILL.
void end_own_strays(const std::set<pid_t>& known, base::Duration patience);

}  // namespace bulkhead::coordinator
