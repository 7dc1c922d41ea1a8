// What is loaded in this process, for whoever gives names to addresses after its death.
#pragma once

#include <bulkhead/v1/control.pb.h>

namespace bulkhead::worker {

// Adds the program and every shared object to a Hello, at most 256. What is loaded later is not
// told. Any thread.
void tell_modules(v1::Hello& hello);

}  // namespace bulkhead::worker
