// Makes the name errno safe in code that may migrate: include it where goroutines use errno.
//
//   if (::read(fd, buffer, size) < 0) {
//     mutex.lock();                      // may go on on another thread
//     log(errno);                        // of the read, all the same
//
// A goroutine's errno goes with it: the scheduler saves and restores it at each switch. But the C
// library's macro tells the compiler that the address of errno never changes (a const function), so
// that one read before a switch and one after it may have the same address: that of the thread
// which the goroutine has left. The macro here looks it up at each use.
//
// It replaces the one of <cerrno> whichever is included first. What is left to the user: no pointer
// or reference to errno over anything that can block; and that an operation of the scheduler, like
// any library call, may set errno where it fails.
#pragma once

#include <cerrno>

namespace bulkhead::sched {

// The calling thread's; not to be kept.
int& this_errno() noexcept;

}  // namespace bulkhead::sched

#undef errno
#define errno (::bulkhead::sched::this_errno())
