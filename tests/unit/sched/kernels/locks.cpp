// Bug kernels of mutexes, once and semaphores.
#include <algorithm>
#include <bulkhead/sched/err_group.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <functional>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>

#include "tests/unit/sched/kernels/kernels.hpp"

namespace bulkhead::sched::kernels {
namespace {

// A method that holds the lock calls another one that takes it.
template <bool kFixed>
void double_lock() {
  struct Cache {
    Mutex mutex;
    int size = 0;
    void grow_locked() { ++size; }
    void grow() {
      const std::lock_guard lock(mutex);
      grow_locked();
    }
    void fill() {
      const std::lock_guard lock(mutex);
      if constexpr (kFixed)
        grow_locked();
      else
        grow();
    }
  };
  Cache cache;
  cache.grow();
  cache.fill();
}

// Listeners are called under the lock of their list, and one of them changes the list.
template <bool kFixed>
void callback_under_lock() {
  Mutex mutex;
  std::vector<std::function<void()>> listeners;
  listeners.emplace_back([&] {
    const std::lock_guard lock(mutex);
    listeners.clear();
  });
  std::unique_lock lock(mutex);
  const auto called = listeners;
  if constexpr (kFixed) lock.unlock();
  for (const auto& listener : called) listener();
}

// AB-BA.
template <bool kFixed>
void opposite_orders() {
  Mutex table, index;
  together(
      [&] {
        const std::lock_guard first(table);
        const std::lock_guard second(index);
      },
      [&] {
        const std::lock_guard first(kFixed ? table : index);
        const std::lock_guard second(kFixed ? index : table);
      });
}

// The same with locks of two objects, whose order the caller chooses.
template <bool kFixed>
void transfers_crosswise() {
  struct Account {
    int number;
    int balance = 100;
    Mutex mutex{};
  };
  Account a{1}, b{2};
  const auto transfer = [](Account& from, Account& to) {
    const bool swap = kFixed && to.number < from.number;
    const std::lock_guard first((swap ? to : from).mutex);
    const std::lock_guard second((swap ? from : to).mutex);
    --from.balance;
    ++to.balance;
  };
  together([&] { transfer(a, b); }, [&] { transfer(b, a); });
}

template <bool kFixed>
void three_philosophers() {
  Mutex forks[3];
  const auto eat = [&](int left, int right) {
    const std::lock_guard first(forks[kFixed ? std::min(left, right) : left]);
    const std::lock_guard second(forks[kFixed ? std::max(left, right) : right]);
  };
  together([&] { eat(0, 1); }, [&] { eat(1, 2); }, [&] { eat(2, 0); });
}

// Between two read locks of one goroutine a writer comes: it waits for the first, the second waits
// for it.
template <bool kFixed>
void recursive_read() {
  RWMutex mutex;
  int size = 0;
  together(
      [&] {
        std::shared_lock outer(mutex);
        if constexpr (kFixed) outer.unlock();
        const std::shared_lock inner(mutex);
      },
      [&] {
        const std::lock_guard writer(mutex);
        ++size;
      });
}

// A reader that has found something missing takes the write lock and still reads.
template <bool kFixed>
void upgrade() {
  RWMutex mutex;
  int value = 0;
  const auto load_once = [&] {
    std::shared_lock reading(mutex);
    if (value != 0) return;
    if constexpr (kFixed) reading.unlock();
    const std::lock_guard writing(mutex);
    if (value == 0) value = 1;
  };
  together(load_once, load_once);
}

template <bool kFixed>
void kept_by_early_return() {
  Mutex mutex;
  const auto handle = [&](bool valid) {
    mutex.lock();
    if (!valid) {
      if constexpr (kFixed) mutex.unlock();
      return;
    }
    mutex.unlock();
  };
  together([&] { handle(true); }, [&] { handle(false); }, [&] { handle(true); });
  handle(true);
}

template <bool kFixed>
void kept_by_exception() {
  Mutex mutex;
  const auto parse = [&] { throw std::runtime_error("bad input"); };
  try {
    if constexpr (kFixed) {
      const std::lock_guard lock(mutex);
      parse();
    } else {
      mutex.lock();
      parse();
      mutex.unlock();
    }
  } catch (const std::runtime_error&) {
  }
  const std::lock_guard lock(mutex);
}

// The branch of the error unlocks, and then so does the end.
template <bool kFixed>
void unlocked_twice() {
  Mutex mutex;
  const auto handle = [&](bool valid) {
    mutex.lock();
    if (!valid) {
      mutex.unlock();
      if constexpr (kFixed) return;
    }
    mutex.unlock();
  };
  handle(true);
  handle(false);
}

template <bool kFixed>
void unlocked_as_a_writer() {
  RWMutex mutex;
  mutex.lock_shared();
  if constexpr (kFixed)
    mutex.unlock_shared();
  else
    mutex.unlock();
}

template <bool kFixed>
void once_in_itself() {
  Once once;
  int loaded = 0;
  std::function<void()> load = [&] {
    ++loaded;
    if constexpr (!kFixed) once.call(load);  // "make sure that it is loaded"
  };
  once.call(load);
}

// Two things that are set up once each use the other.
template <bool kFixed>
void once_crosswise() {
  Once config, log;
  together([&] { config.call([&] { log.call([] {}); }); },
           [&] {
             log.call([&] {
               if constexpr (!kFixed) config.call([] {});
             });
           });
}

// What is done once takes a lock, under which others ask for it to be done.
template <bool kFixed>
void once_under_lock() {
  Once once;
  Mutex mutex;
  together([&] { once.call([&] { const std::lock_guard lock(mutex); }); },
           [&] {
             if constexpr (kFixed) once.call([] {});
             const std::lock_guard lock(mutex);
             if constexpr (!kFixed) once.call([] {});
           });
}

// Each holds one unit and wants another.
template <bool kFixed>
void units_one_by_one() {
  Semaphore units(2);
  const auto work = [&] {
    units.acquire(kFixed ? 2 : 1);
    if constexpr (!kFixed) units.acquire(1);
    units.release(2);
  };
  together(work, work);
}

template <bool kFixed>
void unit_kept_on_error() {
  Semaphore units(1);
  const auto work = [&](bool valid) {
    units.acquire();
    if (valid || kFixed) units.release();
  };
  together([&] { work(true); }, [&] { work(false); });
  work(true);
}

// Given back where it was never taken.
template <bool kFixed>
void unit_released_in_vain() {
  Semaphore units(1);
  const auto work = [&] {
    const bool taken = units.try_acquire();
    checkpoint();
    if (taken || !kFixed) units.release();
  };
  together(work, work);
}

// A goroutine of a group that may have one starts another in the group, and waits for its own end.
template <bool kFixed>
void group_at_its_limit() {
  ErrGroup group;
  group.set_limit(1);
  group.go([&] {
    const auto part = [] {};
    if constexpr (!kFixed)
      group.go(part);
    else if (!group.try_go(part))
      part();
  });
  static_cast<void>(group.wait());
}

}  // namespace

std::vector<Kernel> lock_kernels() {
  return {
      BULKHEAD_KERNEL("locks", double_lock, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", callback_under_lock, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", opposite_orders, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", transfers_crosswise, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", three_philosophers, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", recursive_read, kDeadlock, "parked, rwmutex read lock"),
      BULKHEAD_KERNEL("locks", upgrade, kDeadlock, "parked, rwmutex write lock"),
      BULKHEAD_KERNEL("locks", kept_by_early_return, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", kept_by_exception, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("locks", unlocked_twice, kAborted, "a mutex is unlocked that is not locked"),
      BULKHEAD_KERNEL("locks", unlocked_as_a_writer, kAborted, "that is not locked for writing"),
      BULKHEAD_KERNEL("locks", once_in_itself, kAborted,
                      "a once is called from within its own function"),
      BULKHEAD_KERNEL("locks", once_crosswise, kDeadlock, "parked, once"),
      BULKHEAD_KERNEL("locks", once_under_lock, kDeadlock, "parked, once"),
      BULKHEAD_KERNEL("locks", units_one_by_one, kDeadlock, "parked, semaphore"),
      BULKHEAD_KERNEL("locks", unit_kept_on_error, kDeadlock, "parked, semaphore"),
      BULKHEAD_KERNEL("locks", unit_released_in_vain, kAborted,
                      "units are released of a semaphore"),
      BULKHEAD_KERNEL("locks", group_at_its_limit, kDeadlock, "parked, errgroup"),
  };
}

}  // namespace bulkhead::sched::kernels
