// `bulkhead explore`: schedules of a network in worker processes, some at a time, until one ends
// badly. A worker knows nothing of the search but its own share, so that an interrupt, or its end,
// costs that share alone.
#pragma once

#include "cli/options.hpp"
#include "host/host.hpp"
#include "interrupts.hpp"

namespace bulkhead::coordinator {

// Carries out Command::kExplore, prints what was found or the JSON. Returns the exit code.
int explore(const Options& options, Host& host, Interrupts& interrupts);

}  // namespace bulkhead::coordinator
