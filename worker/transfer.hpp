// A program whose values do not go by pointer from source to work and from work to reduce: each is
// copied, or encoded and decoded, as if it crossed. A control for the shared-memory models: what is
// left of the price of isolation then is the boundary itself.
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/net_channel.hpp>
#include <string_view>

namespace bulkhead::worker {

using program::Transfer;

// "copy", "encode"; anything else is kMove.
Transfer transfer_of(std::string_view name);

// Borrows the program. Not for kMove. Thread-safe as that one is.
std::unique_ptr<program::ErasedJobs> transferring(const program::ErasedJobs& program,
                                                  Transfer transfer);

}  // namespace bulkhead::worker
