#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "sched/task.hpp"
#include "sched/thread_state.hpp"

namespace bulkhead::sched {

// Where a plain thread sleeps: one for each thread, as it waits for one thing at a time. The signal
// is given under the mutex, so the thread may end as soon as it has seen it.
struct ThreadParker {
  std::mutex mutex;
  std::condition_variable condition;
  bool signalled = false;

  void wait() {
    std::unique_lock guard(mutex);
    condition.wait(guard, [this] { return signalled; });
    signalled = false;
  }
  void signal() {
    std::lock_guard guard(mutex);
    signalled = true;
    condition.notify_one();
  }
};

namespace {

// Only for plain threads, which never change under a function: the address may be kept.
ThreadParker* this_thread_parker() {
  thread_local ThreadParker parker;
  return &parker;
}

}  // namespace

const char* to_string(ParkReason reason) {
  switch (reason) {
    case ParkReason::kNone:
      return "none";
    case ParkReason::kSend:
      return "channel send";
    case ParkReason::kReceive:
      return "channel receive";
    case ParkReason::kWaitGroup:
      return "wait group";
    case ParkReason::kMutex:
      return "mutex";
    case ParkReason::kSleep:
      return "sleep";
  }
  return "unknown";
}

Waiter::Waiter()
    : task_(current_task()), parker_(task_ == nullptr ? this_thread_parker() : nullptr) {}

// Not analysed: for a goroutine it is the processor that releases the lock.
void Waiter::park(Lock& lock, ParkReason reason) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  if (task_ != nullptr) {
    BULKHEAD_DCHECK(task_ == current_task(), "a waiter parks another goroutine than its own");
    park_task(*task_, lock, reason);
  } else {
    lock.unlock();
    const ThreadState state = thread_state();
    if (state.host != nullptr) state.host->on_block();
    parker_->wait();
    if (state.host != nullptr) state.host->on_run(state.entered_tag);
  }
}

void Waiter::wake() {
  if (task_ != nullptr)
    unpark_task(*task_);
  else
    parker_->signal();
}

void WaiterList::push_back(Waiter& waiter) {
  waiter.next_ = nullptr;
  (last_ != nullptr ? last_->next_ : first_) = &waiter;
  last_ = &waiter;
}

void WaiterList::push_front(Waiter& waiter) {
  waiter.next_ = first_;
  first_ = &waiter;
  if (last_ == nullptr) last_ = &waiter;
}

Waiter* WaiterList::pop_front() {
  Waiter* const waiter = first_;
  if (waiter == nullptr) return nullptr;
  first_ = std::exchange(waiter->next_, nullptr);
  if (first_ == nullptr) last_ = nullptr;
  return waiter;
}

WaiterList WaiterList::take() { return std::exchange(*this, WaiterList{}); }

void WaiterList::wake_all() {
  while (Waiter* waiter = pop_front()) waiter->wake();
}

}  // namespace bulkhead::sched
