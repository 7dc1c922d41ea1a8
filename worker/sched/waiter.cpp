#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <condition_variable>
#include <mutex>
#include <utility>

#include "sched/processor.hpp"
#include "sched/thread_blocks.hpp"

namespace bulkhead::sched {

// Where a plain thread sleeps: one for each thread, as it waits for one thing at a time. The signal
// is given under the mutex, so the thread may end as soon as it has seen it.
struct ThreadParker {
  std::mutex mutex;
  std::condition_variable condition;
  bool signalled = false;

  bool wait(base::TimePoint deadline) {
    std::unique_lock guard(mutex);
    const auto woken = [this] { return signalled; };
    if (deadline == base::TimePoint::max())
      condition.wait(guard, woken);
    else
      condition.wait_until(guard, deadline, woken);
    return std::exchange(signalled, false);
  }
  void signal() {
    std::lock_guard guard(mutex);
    signalled = true;
    condition.notify_one();
  }
};

namespace {
struct Release {
  void (*function)(void* object);
  void* object;
};
}  // namespace

// Only for plain threads, which never change under a function: the address may be kept.
ThreadParker* Waiter::this_thread_parker() {
  thread_local ThreadParker parker;
  return &parker;
}

template <class AnyLock>
void Waiter::park_with(AnyLock& lock, const Wait& wait) {
  if (task_ != nullptr) {
    park_task(*task_, wait,
              {[](Processor&, void* held)
                   BULKHEAD_NO_THREAD_SAFETY_ANALYSIS { static_cast<AnyLock*>(held)->unlock(); },
               &lock});
    return;
  }
  park([](void* held) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS { static_cast<AnyLock*>(held)->unlock(); },
       &lock, wait);
}

// Not analysed: for a goroutine it is the next context that releases the lock.
void Waiter::park(Lock& lock, const Wait& wait) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  park_with(lock, wait);
}

void Waiter::park(BiasedLock& lock, const Wait& wait) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  park_with(lock, wait);
}

bool Waiter::park(void (*release)(void*), void* object, const Wait& wait,
                  base::TimePoint deadline) {
  if (task_ != nullptr) {
    BULKHEAD_DCHECK(task_ == current_task(), "a waiter parks another goroutine than its own");
    Release call{release, object};
    park_task(*task_, wait,
              {[](Processor&, void* given) {
                 const Release now = *static_cast<Release*>(given);
                 now.function(now.object);
               },
               &call});
    return true;
  }
  release(object);
  const ThreadBlocks blocks;
  return parker_->wait(deadline);
}

void Waiter::wake() {
  if (task_ != nullptr)
    unpark_task(*task_);
  else
    parker_->signal();
}

WaiterList WaiterList::take() {
  WaiterList taken;
  while (Waiter* const waiter = pop_front()) taken.push_back(*waiter);
  return taken;
}

// What is in here has been claimed already.
void WaiterList::wake_all() {
  while (Waiter* const waiter = first_) {
    remove(*waiter);
    waiter->wake();
  }
}

}  // namespace bulkhead::sched
