// Sleeping on a word of memory, and waking whoever does.
#pragma once

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <atomic>
#include <cstdint>
#include <limits>

namespace bulkhead::sched {

// While the word is 0, at most until `deadline_ns` on the monotonic clock (the largest number:
// without end). May return early, so the caller looks again.
inline void futex_wait(std::atomic<std::uint32_t>& word, std::int64_t deadline_ns) {
  const bool forever = deadline_ns == std::numeric_limits<std::int64_t>::max();
  timespec until{};
  if (!forever) {
    until.tv_sec = static_cast<time_t>(deadline_ns / 1'000'000'000);
    until.tv_nsec = static_cast<long>(deadline_ns % 1'000'000'000);
  }
  // FUTEX_WAIT_BITSET takes the deadline as it is. EAGAIN, EINTR and ETIMEDOUT mean "look again".
  ::syscall(SYS_futex, &word, FUTEX_WAIT_BITSET_PRIVATE, 0, forever ? nullptr : &until, nullptr,
            FUTEX_BITSET_MATCH_ANY);
}

// The one that sleeps on it finds 1 there, and all that was done before.
inline void futex_wake(std::atomic<std::uint32_t>& word) {
  word.store(1, std::memory_order_release);  // pairs with the acquire of whoever looks again
  ::syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
}

}  // namespace bulkhead::sched
