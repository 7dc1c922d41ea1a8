// Workers that break the contract after they have been let in, and jobs that do so beside the link
// of their worker. Both know what only the run itself knows.
#pragma once

#include <string>

namespace bulkhead::test {

// Before worker_main(): looks at the boot message without taking it. The worker whose number
// BULKHEAD_TEST_DIE gives, or each where it is "all", dies there at every start. Where
// BULKHEAD_TEST_RAW says what to do, worker 2 in its first incarnation does it and does not return.
void look_at_boot();

// In a job: waits for the file BULKHEAD_TEST_ATTACK, does the stranger that BULKHEAD_TEST_STRANGER
// names, leaves its connections open, and makes the file BULKHEAD_TEST_ATTACKED.
void be_a_stranger();

// Makes the file that the variable names, if any: a test waits for it.
void leave_sign(const char* variable);
// Until the file that the variable names is there; for ever is up to the test's deadline.
bool sign_is_there(const char* variable);

}  // namespace bulkhead::test
