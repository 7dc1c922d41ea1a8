// Bug kernels in which one side holds something that is not what the other side waits for: a lock
// and a channel, a unit and a channel, a lock and a wait group.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/err_group.hpp>
#include <bulkhead/sched/join.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <mutex>
#include <shared_mutex>

#include "tests/unit/sched/kernels/kernels.hpp"

namespace bulkhead::sched::kernels {
namespace {

template <bool kFixed>
void lock_over_send() {
  Mutex mutex;
  Channel<int> events;
  together(
      [&] {
        std::unique_lock lock(mutex);
        if constexpr (kFixed) lock.unlock();
        events.send(1);
      },
      [&] {
        mutex.lock();
        mutex.unlock();
        events.receive();
      });
}

template <bool kFixed>
void lock_over_receive() {
  Mutex mutex;
  Channel<int> requests, replies;
  together(
      [&] {
        std::unique_lock lock(mutex);
        if constexpr (kFixed) lock.unlock();
        requests.send(1);
        replies.receive();
      },
      [&] {
        requests.receive();
        mutex.lock();
        mutex.unlock();
        replies.send(1);
      });
}

// Readers do not exclude one another, but for the writer that comes between them.
template <bool kFixed>
void read_lock_over_send() {
  RWMutex mutex;
  Channel<int> items;
  together(
      [&] {
        std::shared_lock lock(mutex);
        if constexpr (kFixed) lock.unlock();
        items.send(1);
      },
      [&] {
        mutex.lock_shared();
        mutex.unlock_shared();
        items.receive();
      },
      [&] { const std::lock_guard lock(mutex); });
}

template <bool kFixed>
void lock_over_group_wait() {
  Mutex mutex;
  WaitGroup group;
  group.add(2);
  std::unique_lock lock(mutex);
  for (int i = 0; i < 2; ++i)
    go([&] {
      mutex.lock();
      mutex.unlock();
      group.done();
    });
  if constexpr (kFixed) lock.unlock();
  group.wait();
}

template <bool kFixed>
void lock_over_join() {
  Mutex mutex;
  std::unique_lock lock(mutex);
  Join<int> size = spawn([&] {
    const std::lock_guard inner(mutex);
    return 1;
  });
  if constexpr (kFixed) lock.unlock();
  size.join();
}

// stop() waits under the lock until the loop has ended, which first takes itself off a list.
template <bool kFixed>
void stopped_under_lock() {
  Mutex mutex;
  Channel<int> stop, ended;
  together(
      [&] {
        std::unique_lock lock(mutex);
        stop.close();
        if constexpr (kFixed) lock.unlock();
        ended.receive();
      },
      [&] {
        stop.receive();
        { const std::lock_guard lock(mutex); }
        ended.send(1);
      });
}

// Events are handed out under the lock that a tired subscriber needs to unsubscribe.
template <bool kFixed>
void published_under_lock() {
  Mutex mutex;
  bool subscribed = true;
  Channel<int> events(1);
  together(
      [&] {
        for (int i = 0; i < 4; ++i) {
          const std::lock_guard lock(mutex);
          if (!subscribed) continue;
          if constexpr (kFixed)
            events.try_send(i);
          else
            events.send(i);
        }
      },
      [&] {
        events.receive();
        const std::lock_guard lock(mutex);
        subscribed = false;
      });
}

// Told before the signal, and read by whoever waits for the signal.
template <bool kFixed>
void send_before_signal() {
  Mutex mutex;
  Cond changed;
  bool ready = false;
  Channel<int> log;
  together(
      [&] {
        std::unique_lock lock(mutex);
        changed.wait(lock, [&] { return ready; });
        lock.unlock();
        log.receive();
      },
      [&] {
        if constexpr (!kFixed) log.send(1);
        mutex.lock();
        ready = true;
        mutex.unlock();
        changed.signal();
        if constexpr (kFixed) log.send(1);
      });
}

// What is done once waits for a goroutine that waits for it to be done.
template <bool kFixed>
void once_waits_for_its_user() {
  Once once;
  once.call([&] {
    Channel<int> loaded;
    go([&] {
      if constexpr (!kFixed) once.call([] {});
      loaded.send(1);
    });
    loaded.receive();
  });
}

template <bool kFixed>
void unit_over_send() {
  Semaphore units(1);
  Channel<int> results;
  together(
      [&] {
        units.acquire();
        if constexpr (kFixed) units.release();
        results.send(1);
        if constexpr (!kFixed) units.release();
      },
      [&] {
        units.acquire();
        units.release();
        results.receive();
      });
}

// Results are read when all have ended, and nobody ends before his result is read.
template <bool kFixed>
void waits_before_reading() {
  Channel<int> results;
  WaitGroup group;
  group.add(2);
  for (int i = 0; i < 2; ++i)
    go([&, i] {
      results.send(i);
      group.done();
    });
  const auto close = [&] {
    group.wait();
    results.close();
  };
  const auto read = [&] {
    while (results.receive()) {
    }
  };
  if constexpr (kFixed) {
    together(close, read);
  } else {
    close();
    read();
  }
}

// Room for one error, but two may fail.
template <bool kFixed>
void errors_beyond_the_buffer() {
  constexpr int kWorkers = 2;
  Channel<int> errors(kFixed ? kWorkers : 1);
  WaitGroup group;
  group.add(kWorkers);
  for (int i = 0; i < kWorkers; ++i)
    go([&, i] {
      errors.send(i);
      group.done();
    });
  group.wait();
  errors.receive();
}

// A group that may have no more is asked for another under the lock that its member needs.
template <bool kFixed>
void lock_over_full_group() {
  Mutex mutex;
  int ended = 0;
  ErrGroup group;
  group.set_limit(1);
  const auto work = [&] {
    const std::lock_guard lock(mutex);
    ++ended;
  };
  std::unique_lock lock(mutex);
  group.go(work);
  if constexpr (kFixed) lock.unlock();
  group.go(work);
  if constexpr (!kFixed) lock.unlock();
  static_cast<void>(group.wait());
}

}  // namespace

std::vector<Kernel> mixed_kernels() {
  return {
      BULKHEAD_KERNEL("mixed", lock_over_send, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("mixed", lock_over_receive, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("mixed", read_lock_over_send, kDeadlock, "parked, rwmutex read lock"),
      BULKHEAD_KERNEL("mixed", lock_over_group_wait, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("mixed", lock_over_join, kDeadlock, "parked, join"),
      BULKHEAD_KERNEL("mixed", stopped_under_lock, kDeadlock, "parked, mutex"),
      BULKHEAD_KERNEL("mixed", published_under_lock, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("mixed", send_before_signal, kDeadlock, "parked, cond"),
      BULKHEAD_KERNEL("mixed", once_waits_for_its_user, kDeadlock, "parked, once"),
      BULKHEAD_KERNEL("mixed", unit_over_send, kDeadlock, "parked, semaphore"),
      BULKHEAD_KERNEL("mixed", waits_before_reading, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("mixed", errors_beyond_the_buffer, kDeadlock, "parked, channel send"),
      BULKHEAD_KERNEL("mixed", lock_over_full_group, kDeadlock, "parked, errgroup"),
  };
}

}  // namespace bulkhead::sched::kernels
