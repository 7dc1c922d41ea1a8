// `bulkhead run` and `bulkhead compare`: the models' runs, interleaved, and the report of them.
#pragma once

#include "cli/options.hpp"

namespace bulkhead::coordinator {

// Carries out options.command (any). Returns the exit code. Call before any thread exists.
int execute(const Options& options);

}  // namespace bulkhead::coordinator
