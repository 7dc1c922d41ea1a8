// The parking seam: how a primitive blocks its caller, whether that is a goroutine or a plain OS
// thread. Channel, WaitGroup and Mutex are built on it; nothing else of them knows the difference.
//
//   lock_.lock();
//   if (ready) { lock_.unlock(); return; }
//   Waiter waiter;                                // who calls
//   waiters_.push_back(waiter);
//   waiter.park(lock_, ParkReason::kWaitGroup);   // releases lock_ once the caller can be woken
//
// The waker takes the waiter off the list under the same lock, releases the lock, then calls
// wake() once. From that call on the waiter may be gone: read its link before.
#pragma once

#include <bulkhead/sched/lock.hpp>
#include <cstddef>
#include <cstdint>

namespace bulkhead::sched {

struct Task;
struct ThreadParker;

// Why a goroutine does not run; for dumps.
enum class ParkReason : std::uint8_t {
  kNone = 0,  // it runs, or it could
  kSend,      // Channel::send: no room and no receiver
  kReceive,   // Channel::receive: nothing there
  kWaitGroup,
  kMutex,
  kSleep,
};
const char* to_string(ParkReason reason);

// Lives on the stack of the one who waits. Used for one park at a time.
class Waiter {
 public:
  Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  // Blocks the one who constructed the waiter, until wake(). `lock` is held by the caller and is
  // released when a wake() can no longer be missed; it is not taken again.
  void park(Lock& lock, ParkReason reason) BULKHEAD_RELEASE(lock);

  // From any thread or goroutine, once for each park.
  void wake();

 private:
  friend class WaiterList;

  Task* const task_;            // the waiting goroutine, or
  ThreadParker* const parker_;  // the waiting thread's; exactly one of them is set
  Waiter* next_ = nullptr;      // guarded by the lock of the list that holds the waiter
};

// FIFO of waiters, guarded by its primitive's lock. Owns nothing.
class WaiterList {
 public:
  bool empty() const { return first_ == nullptr; }
  Waiter* front() const { return first_; }
  void push_back(Waiter& waiter);
  void push_front(Waiter& waiter);
  Waiter* pop_front();  // nullptr when empty
  // Takes all; wake_all() is then called without the lock.
  WaiterList take();
  void wake_all();

 private:
  Waiter* first_ = nullptr;
  Waiter* last_ = nullptr;
};

}  // namespace bulkhead::sched
