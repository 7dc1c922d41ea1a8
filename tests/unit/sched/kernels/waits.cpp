// Bug kernels of wait groups, conds and joins.
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/join.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <memory>
#include <mutex>

#include "tests/unit/sched/kernels/kernels.hpp"

namespace bulkhead::sched::kernels {
namespace {

template <bool kFixed>
void done_skipped_on_error() {
  const auto group = std::make_shared<WaitGroup>();
  group->add(2);
  for (const bool valid : {true, false})
    go([group, valid] {
      if (!valid && !kFixed) return;
      group->done();
    });
  group->wait();
}

// Counted before those that need nothing were left out.
template <bool kFixed>
void added_too_many() {
  WaitGroup group;
  if constexpr (!kFixed) group.add(4);
  for (int i = 0; i < 4; ++i) {
    if (i % 2 == 1) continue;
    if constexpr (kFixed) group.add(1);
    go([&] { group.done(); });
  }
  group.wait();
}

// wait() is one line too high: in the loop.
template <bool kFixed>
void waited_in_the_loop() {
  WaitGroup group;
  group.add(3);
  for (int i = 0; i < 3; ++i) {
    go([&] { group.done(); });
    if constexpr (!kFixed) group.wait();
  }
  group.wait();
}

// A goroutine that is counted waits for the count.
template <bool kFixed>
void waits_for_itself() {
  WaitGroup workers;
  workers.add(2);
  const auto work = [&](bool last) {
    if (last && !kFixed) workers.wait();
    workers.done();
    if (last && kFixed) workers.wait();
  };
  together([&] { work(false); }, [&] { work(true); });
}

template <bool kFixed>
void more_done_than_added() {
  const auto group = std::make_shared<WaitGroup>();
  group->add(2);
  for (const bool valid : {true, false})
    go([group, valid] {
      if (!valid) {
        group->done();
        if constexpr (kFixed) return;
      }
      group->done();
    });
  group->wait();
}

// Whoever is to be waited for counts itself.
template <bool kFixed>
void added_in_the_goroutine() {
  const auto group = std::make_shared<WaitGroup>();
  const auto ended = std::make_shared<int>(0);
  for (int i = 0; i < 3; ++i) {
    if constexpr (kFixed) group->add(1);
    go([group, ended] {
      if constexpr (!kFixed) group->add(1);
      ++*ended;
      group->done();
    });
  }
  group->wait();
  BULKHEAD_CHECK(*ended == 3, "wait() has returned when {} of 3 had ended", *ended);
}

template <bool kFixed>
void signal_before_wait() {
  Mutex mutex;
  Cond changed;
  bool ready = false;
  together(
      [&] {
        std::unique_lock lock(mutex);
        if constexpr (kFixed)
          changed.wait(lock, [&] { return ready; });
        else
          changed.wait(lock);
      },
      [&] {
        const std::lock_guard lock(mutex);
        ready = true;
        changed.signal();
      });
}

template <bool kFixed>
void one_signal_for_two() {
  Mutex mutex;
  Cond changed;
  bool ready = false;
  const auto wait = [&] {
    std::unique_lock lock(mutex);
    changed.wait(lock, [&] { return ready; });
  };
  together(wait, wait, [&] {
    const std::lock_guard lock(mutex);
    ready = true;
    if constexpr (kFixed)
      changed.broadcast();
    else
      changed.signal();
  });
}

// Closed, and those who wait for the next item are not told.
template <bool kFixed>
void closed_without_broadcast() {
  Mutex mutex;
  Cond changed;
  int items = 0;
  bool closed = false;
  together(
      [&] {
        std::unique_lock lock(mutex);
        for (;;) {
          changed.wait(lock, [&] { return items > 0 || closed; });
          if (items == 0) return;
          --items;
        }
      },
      [&] {
        const std::lock_guard lock(mutex);
        ++items;
        changed.signal();
      },
      [&] {
        const std::lock_guard lock(mutex);
        closed = true;
        if constexpr (kFixed) changed.broadcast();
      });
}

// Producers and consumers wait for the same cond: the signal for one kind wakes the other.
template <bool kFixed>
void wrong_kind_woken() {
  Mutex mutex;
  Cond not_empty, not_full;
  Cond& room = kFixed ? not_full : not_empty;
  bool full = false;
  const auto produce = [&] {
    for (int i = 0; i < 2; ++i) {
      std::unique_lock lock(mutex);
      room.wait(lock, [&] { return !full; });
      full = true;
      not_empty.signal();
    }
  };
  const auto consume = [&] {
    for (int i = 0; i < 2; ++i) {
      std::unique_lock lock(mutex);
      not_empty.wait(lock, [&] { return full; });
      full = false;
      room.signal();
    }
  };
  together(produce, produce, consume, consume);
}

// Between the signal and the one that it wakes another may come and take the item.
template <bool kFixed>
void looked_at_only_once() {
  Mutex mutex;
  Cond changed;
  int items = 0;
  const auto consume = [&] {
    std::unique_lock lock(mutex);
    if constexpr (kFixed)
      changed.wait(lock, [&] { return items > 0; });
    else if (items == 0)
      changed.wait(lock);
    BULKHEAD_CHECK(items > 0, "an item is taken, but there is none");
    --items;
  };
  const auto produce = [&] {
    const std::lock_guard lock(mutex);
    ++items;
    changed.signal();
  };
  together(consume, consume, [&] {
    produce();
    produce();
  });
}

// Changed without the lock, between the look of the one that waits and its wait.
template <bool kFixed>
void changed_without_the_lock() {
  Mutex mutex;
  Cond changed;
  bool ready = false;
  together(
      [&] {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] {
          const bool seen = ready;
          checkpoint();
          return seen;
        });
      },
      [&] {
        std::unique_lock lock(mutex, std::defer_lock);
        if constexpr (kFixed) lock.lock();
        ready = true;
        changed.signal();
      });
}

template <bool kFixed>
void waited_without_the_lock() {
  Mutex mutex;
  Cond changed;
  bool ready = false;
  together(
      [&] {
        std::unique_lock lock(mutex, std::defer_lock);
        if constexpr (kFixed) lock.lock();
        changed.wait(lock, [&] { return ready; });
      },
      [&] {
        const std::lock_guard lock(mutex);
        ready = true;
        changed.signal();
      });
}

// Each asks for the result of the other before it gives its own.
template <bool kFixed>
void joined_crosswise() {
  Join<int> left, right;
  left = spawn([&] { return kFixed ? 1 : right.join(); });
  right = spawn([&] { return left.join(); });
  sleep_for(std::chrono::seconds(1));
  if (right.joinable()) right.join();
}

template <bool kFixed>
void joined_twice() {
  Join<int> size = spawn([] { return 1; });
  const int first = size.join();
  const int second = kFixed ? first : size.join();
  BULKHEAD_CHECK(first == second);
}

}  // namespace

std::vector<Kernel> wait_kernels() {
  return {
      BULKHEAD_KERNEL("waits", done_skipped_on_error, kDeadlock, "parked, wait group"),
      BULKHEAD_KERNEL("waits", added_too_many, kDeadlock, "parked, wait group"),
      BULKHEAD_KERNEL("waits", waited_in_the_loop, kDeadlock, "parked, wait group"),
      BULKHEAD_KERNEL("waits", waits_for_itself, kDeadlock, "parked, wait group"),
      BULKHEAD_KERNEL("waits", more_done_than_added, kAborted, "more done() than add()"),
      BULKHEAD_KERNEL("waits", added_in_the_goroutine, kAborted, "wait() has returned when"),
      BULKHEAD_KERNEL("waits", signal_before_wait, kDeadlock, "parked, cond"),
      BULKHEAD_KERNEL("waits", one_signal_for_two, kDeadlock, "parked, cond"),
      BULKHEAD_KERNEL("waits", closed_without_broadcast, kDeadlock, "parked, cond"),
      BULKHEAD_KERNEL("waits", wrong_kind_woken, kDeadlock, "parked, cond"),
      BULKHEAD_KERNEL("waits", looked_at_only_once, kAborted, "an item is taken, but there is"),
      BULKHEAD_KERNEL("waits", changed_without_the_lock, kDeadlock, "parked, cond"),
      BULKHEAD_KERNEL("waits", waited_without_the_lock, kAborted, "without its mutex locked"),
      BULKHEAD_KERNEL("waits", joined_crosswise, kDeadlock, "parked, join"),
      BULKHEAD_KERNEL("waits", joined_twice, kAborted, "join() on a handle that has no goroutine"),
  };
}

}  // namespace bulkhead::sched::kernels
