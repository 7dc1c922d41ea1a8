// Evidence of a fatal signal on the crash page, from inside the dying process.
#pragma once

#include <bulkhead/wire/crash_page.hpp>

namespace bulkhead::worker {

// Installs the handler for SEGV, BUS, ILL, FPE, ABRT, TRAP and SYS. Process-wide, once; `page` must
// stay mapped for ever. The default action follows the handler, so that exit status and core dumps
// stay true.
void install_crash_handler(wire::CrashPage* page);

// The slot of the crash page that the calling thread writes, -1: none. Async-signal-safe to read.
void set_thread_slot(int slot) noexcept;
int thread_slot() noexcept;

// Gives the calling thread an alternate signal stack (a goroutine's overflow leaves no room on its
// own) and notes the thread's stack bounds for the frame walk. Lives as
// long as it; again is harmless.
void prepare_thread_for_crashes();

}  // namespace bulkhead::worker
