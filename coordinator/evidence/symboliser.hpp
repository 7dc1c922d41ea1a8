// Asks a process of its own for the names in crashes: what it reads was chosen by workers, and what
// it dies of or waits for must not be ours.
#pragma once

#include <bulkhead/v1/symbols.pb.h>

#include <bulkhead/base/error.hpp>
#include <string>

#include "host/host.hpp"
#include "interrupts.hpp"

namespace bulkhead::coordinator {

// Blocks until it has answered or its time is over (10 s), or an interrupt comes. The question is
// left as a file in the run directory.
Result<v1::SymbolAnswer> ask_symboliser(Host& host, Interrupts& interrupts,
                                        const std::string& run_directory,
                                        const v1::SymbolQuestion& question);

}  // namespace bulkhead::coordinator
