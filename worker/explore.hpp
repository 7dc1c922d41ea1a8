// `bulkhead-worker --explore …`: schedules of one network, in this process's children. The
// coordinator starts it, some schedules at a time.
#pragma once

namespace bulkhead::worker {

// `request`: an ExploreRequest as JSON. Prints an ExploreRun as JSON. Returns the exit code: 2,
// with a line on standard error, for what the network refuses.
int explore_main(const char* request);

}  // namespace bulkhead::worker
