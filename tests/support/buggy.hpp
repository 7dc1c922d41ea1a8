// Bugs for a job to have, and a crash page that lies.
#pragma once

#include <cstdint>

namespace bulkhead::test {

// Writes through a null pointer three functions deep: outermost(), middle(), innermost().
void outermost();
// The same on a thread of the job's own, which nobody prepared for crashes.
void crash_on_own_thread();
// Calls a function through a null pointer.
void call_nothing();

// Blames the job and fills the other evidence of a crash with what a generator says that
// BULKHEAD_TEST_SEED seeds; then dies by SIGKILL.
void lie_and_die(std::uint64_t job);

}  // namespace bulkhead::test
