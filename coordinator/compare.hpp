// `bulkhead run` and `bulkhead compare`: the models' runs, interleaved, and the report of them.
#pragma once

#include <string>

#include "cli/options.hpp"

namespace bulkhead::coordinator {

// Results, to standard output. kExitDone; or kExitEnvironment, with a line that says why, when they
// did not get there.
int say(const std::string& text);

// What a Stop says, to standard error; returns its code.
int complain(const Stop& stop);

// Carries out options.command (any). Returns the exit code. Call before any thread exists.
int execute(const Options& options);

}  // namespace bulkhead::coordinator
