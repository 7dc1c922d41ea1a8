// Waits until a descriptor can be read or written without blocking. For descriptors that are
// non-blocking, or that one goroutine alone reads (writes):
//
//   while (sched::wait_readable(fd)) {
//     const ssize_t got = ::read(fd, buffer, sizeof buffer);
//     if (got <= 0) break;   // the end, an error; EAGAIN: another was faster
//     consume(buffer, got);
//   }
//
// Others run meanwhile on the same processor; what is ready waits for none of them for long, be it
// that they yield or compute. Several may wait for the same descriptor, in the same direction, too:
// all of them are told. On a plain thread these functions block it, in poll(2). In dumps:
// "readable fd 7", "writable fd 7".
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/source_site.hpp>

namespace bulkhead::sched {

// True: a read would not block now, be it for data, the end of the file, an error or a hang-up;
// what epoll refuses (regular files, directories) is always ready. False: not within `timeout`,
// which the first look does not count in: zero asks and does not wait. It says how things are, not
// what has changed: whoever does not read is told again.
//
// Who waits here may be told by something outside, so the scheduler reports no deadlock meanwhile;
// in an ExternalWait it is no part of one, and those of the others are reported. Under a Chooser
// the answer comes from outside the schedule, which is then not a function of the seed alone;
// virtual time passes as fast as the real one while all wait.
//
// The descriptor must not be closed while somebody waits for it: that wakes nobody (the kernel
// forgets it), and once the number means another file, who waited for the old one is told of the
// new one. End the wait first, which works for goroutines and plain threads alike: shutdown() a
// socket, close the other end of a pipe. A number that is used again later does no harm. After
// fork() the child may run a scheduler that did not run just then; it watches for itself.
//
// Throws std::system_error: EBADF, no open descriptor; EMFILE, ENFILE, ENOMEM, ENOSPC, the kernel
// can watch no more. A plain thread may call this anywhere: nothing of it needs a scheduler.
bool wait_readable(int fd, base::Duration timeout = base::Duration::max(),
                   base::SourceSite site = base::SourceSite::current());
// The same for a write of at least one byte.
bool wait_writable(int fd, base::Duration timeout = base::Duration::max(),
                   base::SourceSite site = base::SourceSite::current());

}  // namespace bulkhead::sched
