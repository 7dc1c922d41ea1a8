// `bulkhead bench`: each run of each row in a worker process of its own, which measures; here the
// runs are put in order and the figures together. No run shares its process with another, and no
// two are made at once.
#pragma once

#include "cli/options.hpp"
#include "host/host.hpp"
#include "interrupts.hpp"

namespace bulkhead::coordinator {

// Carries out Command::kBench, prints the table or the JSON. Returns the exit code.
int bench(const Options& options, Host& host, Interrupts& interrupts);

}  // namespace bulkhead::coordinator
