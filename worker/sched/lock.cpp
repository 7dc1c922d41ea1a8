// The contended half of sched::Lock: three states (free, held, held with sleepers) over a futex.
#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bulkhead/sched/lock.hpp>

namespace bulkhead::sched {
namespace {

// Critical sections are some tens of instructions: a short spin mostly beats two system calls.
constexpr int kSpins = 100;

void pause_cpu() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

void Lock::lock_slow() {
  for (int i = 0; i < kSpins; ++i) {
    std::uint32_t seen = state_.load(std::memory_order_relaxed);
    // acquire pairs with the release in unlock().
    if (seen == kFree && state_.compare_exchange_weak(seen, kHeld, std::memory_order_acquire,
                                                      std::memory_order_relaxed))
      return;
    if (seen == kContended) break;
    pause_cpu();
  }
  // acquire pairs with the release in unlock(). Taken as contended, since others may sleep too.
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree) {
    // EAGAIN and EINTR mean "look again", which the loop does.
    ::syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kContended, nullptr, nullptr, 0);
  }
}

void Lock::wake_one() { ::syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0); }

}  // namespace bulkhead::sched
