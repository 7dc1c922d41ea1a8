// For functions that read thread-local variables and that goroutines call, which go on on another
// thread after a switch: no compiler may keep the address, nor anything that it knows of the body.
#pragma once

#if defined(__clang__)
#define BULKHEAD_OPAQUE __attribute__((noinline))
#else
#define BULKHEAD_OPAQUE __attribute__((noipa))  // noinline, and its callers may assume nothing
#endif
