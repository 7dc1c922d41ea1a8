// main() of a worker. A user's own worker is three lines:
//
//   #include <bulkhead/worker/worker.hpp>
//   int main(int argc, char** argv) { return bulkhead::worker::worker_main(argc, argv); }
//
// linked together with files that register programs (BULKHEAD_JOBS_PROGRAM,
// BULKHEAD_NETWORK).
#pragma once

namespace bulkhead::worker {

// `--describe` prints the programs as JSON, `--explore` runs schedules of a network; otherwise
// serves the coordinator that started the process (descriptors 3 and 4). Returns the exit code;
// while serving it does not return: the process ends when the coordinator says so (0) or is gone
// (75).
int worker_main(int argc, char** argv);

}  // namespace bulkhead::worker
