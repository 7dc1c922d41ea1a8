// Starts one worker process with Boost.Process; the only file that knows that library.
#pragma once

#include <sys/types.h>

#include <string>
#include <vector>

namespace bulkhead::coordinator {

struct SpawnRequest {
  std::string executable;
  std::vector<std::string> arguments;
  // All must be above 4, so that no source is overwritten before it is used.
  int lifeline = -1;
  int out = -1;
  int err = -1;
  int crash_page = -1;  // may stay -1
};
struct Spawned {
  pid_t pid = -1;
  int error_number = 0;  // 0, or why there is no process
};

// Returns when the program runs or has failed to (then nothing is left to reap). The child leads a
// session and group of its own, has default signal handling, and owns descriptors 0 (nothing), 1,
// 2, 3 (lifeline) and 4 (crash page). The caller must be single-threaded and must keep 0-4 in use,
// so that the pipe by which Boost.Process reports a failed exec lands above them.
Spawned spawn_worker(const SpawnRequest& request);

}  // namespace bulkhead::coordinator
