// SIGQUIT to a worker: what each goroutine does goes to its standard error, and it works on.
#pragma once

namespace bulkhead::worker {

// Once in a process. The descriptor, which lives as long as the process, is readable when the
// signal has come; take_dump_request() makes it wait for the next.
int catch_dump_requests();
bool take_dump_request(int descriptor);

}  // namespace bulkhead::worker
