// This machine as a Host: workers are launched by the launcher process, watched by pidfd.
#pragma once

#include <memory>

#include "host/host.hpp"

namespace bulkhead::coordinator {

// Makes the calling process a subreaper and starts the launcher (/proc/self/exe __launcher). Call
// from the main thread: the launcher's parent-death signal follows the thread. When the launcher
// dies, workers stay, their causes are then learnt by the coordinator itself, and a new launcher is
// started; launches under way fail with kUnavailable and run nowhere: launch a new incarnation.
//
// Every child that the process gets after this call is taken for a worker or for a worker's stray:
// do not fork elsewhere while a host lives.
//
// `run_directory` is what the launcher removes when the coordinator is gone ("" for none).
// `launcher_executable` answers `__launcher`; a test that is no `bulkhead` itself names one.
Result<std::unique_ptr<Host>> start_local_host(
    const std::string& run_directory, const std::string& launcher_executable = "/proc/self/exe");

// For tests: the launcher's pid of a host made by start_local_host.
pid_t launcher_pid(const Host& host);

// main() of `bulkhead __launcher`; `argc`/`argv` as the process got them.
int launcher_main(int argc, char** argv);

}  // namespace bulkhead::coordinator
