// The worker's executable as a fork server: see coordinator/host/fork_server.hpp.
#pragma once

#include <optional>

namespace bulkhead::worker {

// Forks a worker for each request on descriptor 3. In such a worker it returns nothing, with
// descriptors 1 to 4 as exec would have set them. In the server it returns the exit code, once the
// launcher has hung up (0) or because this process cannot be forked (70): it has threads already.
std::optional<int> serve_forks();

// A fork copies only the thread that calls it: what another one holds or does would be lost.
bool single_threaded();

}  // namespace bulkhead::worker
