// What Go's tests of package sync assert, each under its name there, in our own words.
#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <stdexcept>
#include <variant>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using GoMutex = EverywhereTest;
using GoWaitGroup = EverywhereTest;
using GoOnce = EverywhereTest;
using GoCond = EverywhereTest;
using GoWeighted = EverywhereTest;
using GoSyncDeathTest = SchedTest;

TEST_P(GoMutex, TestMutex) {
  Mutex mutex;
  mutex.lock();
  EXPECT_FALSE(mutex.try_lock());
  mutex.unlock();
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
  int inside = 0;
  run([&] {
    for (int i = 0; i < 10; ++i)
      go([&] {
        for (int n = 0; n < loops(); ++n) {
          if (n % 3 == 0) {
            if (!mutex.try_lock()) continue;
          } else {
            mutex.lock();
          }
          EXPECT_EQ(inside++, 0);
          if (n % 7 == 0) yield();
          EXPECT_EQ(--inside, 0);
          mutex.unlock();
        }
      });
  });
}

// One that holds it nearly always does not keep out one that wants it seldom.
TEST_P(GoMutex, TestMutexFairness) {
  Mutex mutex;
  std::atomic<bool> stop{false};
  run([&] {
    go([&] {
      while (!stop) {
        const std::lock_guard lock(mutex);
        sleep_for(std::chrono::microseconds(100));
      }
    });
    for (int i = 0; i < 10; ++i) {
      sleep_for(std::chrono::microseconds(100));
      const std::lock_guard lock(mutex);
    }
    stop = true;
  });
}

TEST_F(GoSyncDeathTest, TestMutexMisuse) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Mutex().unlock(), "not locked");
  EXPECT_DEATH(
      {
        Mutex mutex;
        mutex.lock();
        mutex.unlock();
        mutex.unlock();
      },
      "not locked");
  EXPECT_DEATH(RWMutex().unlock(), "not locked for writing");
  EXPECT_DEATH(RWMutex().unlock_shared(), "not locked for reading");
  EXPECT_DEATH(
      {
        RWMutex mutex;
        mutex.lock();
        mutex.unlock();
        mutex.unlock();
      },
      "not locked for writing");
}

class GoRWMutex : public EverywhereTest {
 protected:
  // All readers are inside at a time, whatever else waits.
  void parallel_readers(int readers) {
    RWMutex mutex;
    run([&] {
      Channel<std::monostate> locked, unlock, done;
      for (int i = 0; i < readers; ++i)
        go([&] {
          mutex.lock_shared();
          locked.send({});
          unlock.receive();
          mutex.unlock_shared();
          done.send({});
        });
      for (int i = 0; i < readers; ++i) locked.receive();
      for (int i = 0; i < readers; ++i) unlock.send({});
      for (int i = 0; i < readers; ++i) done.receive();
    });
  }

  void hammer(int readers, int loops) {
    RWMutex mutex;
    std::atomic<int> active{0};  // +1 a reader, +10,000 a writer
    const auto write = [&] {
      for (int i = 0; i < loops; ++i) {
        if (i % 5 != 4) {
          mutex.lock();
        } else if (!mutex.try_lock()) {
          continue;
        }
        EXPECT_EQ(active += 10'000, 10'000);
        if (i % 10 == 0) yield();
        active -= 10'000;
        mutex.unlock();
      }
    };
    const auto read = [&] {
      for (int i = 0; i < loops; ++i) {
        if (i % 5 != 4) {
          mutex.lock_shared();
        } else if (!mutex.try_lock_shared()) {
          continue;
        }
        const int now = ++active;
        EXPECT_GE(now, 1);
        EXPECT_LT(now, 10'000);
        if (i % 10 == 0) yield();
        --active;
        mutex.unlock_shared();
      }
    };
    run([&] {
      go(write);
      for (int i = 0; i < readers / 2; ++i) go(read);
      go(write);
      for (int i = readers / 2; i < readers; ++i) go(read);
    });
    EXPECT_EQ(active, 0);
    EXPECT_TRUE(mutex.try_lock());
    mutex.unlock();
  }
};

TEST_P(GoRWMutex, TestParallelReaders) {
  for (int readers : {1, 3, 4}) parallel_readers(readers);
}

TEST_P(GoRWMutex, TestRWMutex) {
  for (int readers : {1, 3, 10, 5}) hammer(readers, loops() / 2);
}

TEST_P(GoWaitGroup, TestWaitGroup) {
  constexpr int kWaiters = 16;
  WaitGroup first, second;  // used again each round
  run([&] {
    for (int round = 0; round < 8; ++round) {
      Channel<bool> exited(kWaiters);
      first.add(kWaiters);
      second.add(kWaiters);
      for (int i = 0; i < kWaiters; ++i)
        go([&] {
          first.done();
          second.wait();
          exited.send(true);
        });
      first.wait();
      for (int i = 0; i < kWaiters; ++i) {
        EXPECT_EQ(exited.try_receive(), std::nullopt) << "released too soon";
        second.done();
      }
      for (int i = 0; i < kWaiters; ++i) EXPECT_EQ(exited.receive(), true);
    }
  });
}

TEST_P(GoWaitGroup, TestWaitGroupRace) {
  run([&] {
    for (int round = 0; round < loops() / 4; ++round) {
      WaitGroup group;
      std::atomic<int> count{0};
      for (int i = 0; i < 2; ++i) {
        group.add();
        go([&] {
          ++count;
          group.done();
        });
      }
      group.wait();
      EXPECT_EQ(count, 2);
    }
  });
}

TEST_F(GoSyncDeathTest, TestWaitGroupMisuse) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        WaitGroup group;
        group.add();
        group.done();
        group.done();
      },
      "count falls to -1");
}

TEST_P(GoOnce, TestOnce) {
  Once once;
  int calls = 0;
  run([&] {
    WaitGroup group;
    group.add(10);
    for (int i = 0; i < 10; ++i)
      go([&] {
        once.call([&] { ++calls; });
        EXPECT_EQ(calls, 1);
        group.done();
      });
    group.wait();
    EXPECT_EQ(calls, 1);
  });
}

TEST_P(GoOnce, TestOncePanic) {
  run([] {
    Once once;
    EXPECT_THROW(once.call([] { throw std::runtime_error("failed"); }), std::runtime_error);
    once.call([] { ADD_FAILURE() << "called twice"; });
  });
}

// Each signal wakes one that waits, and only one.
TEST_P(GoCond, TestCondSignal) {
  run([&] {
    Mutex mutex;
    Cond cond;
    constexpr int kWaiters = 2;
    Channel<bool> running(kWaiters), awake(kWaiters);
    WaitGroup group;
    group.add(kWaiters);
    for (int i = 0; i < kWaiters; ++i)
      go([&] {
        std::unique_lock lock(mutex);
        running.send(true);
        cond.wait(lock);
        awake.send(true);
        lock.unlock();
        group.done();
      });
    for (int i = 0; i < kWaiters; ++i) running.receive();
    for (int i = 0; i < kWaiters; ++i) {
      EXPECT_EQ(awake.try_receive(), std::nullopt) << "awake without a signal";
      {
        const std::lock_guard lock(mutex);
        cond.signal();
      }
      awake.receive();
      EXPECT_EQ(awake.try_receive(), std::nullopt) << "two awake by one signal";
    }
    cond.signal();
    group.wait();
  });
}

// Waiters that came first are signalled first.
TEST_P(GoCond, TestCondSignalGenerations) {
  run([&] {
    Mutex mutex;
    Cond cond;
    constexpr int kWaiters = 100;
    Channel<bool> running(kWaiters);
    Channel<int> awake(kWaiters);
    WaitGroup group;
    group.add(kWaiters);
    for (int i = 0; i < kWaiters; ++i) {
      go([&, i] {
        std::unique_lock lock(mutex);
        running.send(true);
        cond.wait(lock);
        awake.send(i);
        lock.unlock();
        group.done();
      });
      const std::optional<int> woken = i > 0 ? awake.receive() : -1;
      EXPECT_EQ(woken, i - 1);
      running.receive();
      const std::lock_guard lock(mutex);
      cond.signal();
    }
    group.wait();
  });
}

TEST_P(GoCond, TestCondBroadcast) {
  run([&] {
    Mutex mutex;
    Cond cond;
    constexpr int kWaiters = 50;
    Channel<int> running(kWaiters), awake(kWaiters);
    WaitGroup group;
    group.add(kWaiters);
    bool exit = false;
    for (int i = 0; i < kWaiters; ++i)
      go([&, i] {
        std::unique_lock lock(mutex);
        while (!exit) {
          running.send(i);
          cond.wait(lock);
          awake.send(i);
        }
        lock.unlock();
        group.done();
      });
    for (int round = 0; round < kWaiters; ++round) {
      for (int i = 0; i < kWaiters; ++i) running.receive();
      if (round == kWaiters - 1) {
        const std::lock_guard lock(mutex);
        exit = true;
      }
      EXPECT_EQ(awake.try_receive(), std::nullopt) << "awake without a signal";
      {
        const std::lock_guard lock(mutex);
        cond.broadcast();
      }
      std::vector<bool> seen(kWaiters, false);
      for (int i = 0; i < kWaiters; ++i) {
        const auto who = static_cast<std::size_t>(awake.receive().value());
        EXPECT_FALSE(seen[who]) << "awake twice";
        seen[who] = true;
      }
    }
    group.wait();
  });
}

// Three that depend on one another's signals and on the order of waking.
TEST_P(GoCond, TestRace) {
  run([&] {
    Mutex mutex;
    Cond cond;
    int x = 0;
    WaitGroup group;
    group.add(3);
    go([&] {
      std::unique_lock lock(mutex);
      x = 1;
      cond.wait(lock);
      EXPECT_EQ(x, 2);
      x = 3;
      cond.signal();
      lock.unlock();
      group.done();
    });
    go([&] {
      std::unique_lock lock(mutex);
      for (;;) {
        if (x == 1) {
          x = 2;
          cond.signal();
          break;
        }
        lock.unlock();
        yield();
        lock.lock();
      }
      lock.unlock();
      group.done();
    });
    go([&] {
      std::unique_lock lock(mutex);
      for (;;) {
        if (x == 2) {
          cond.wait(lock);
          EXPECT_EQ(x, 3);
          break;
        }
        if (x == 3) break;
        lock.unlock();
        yield();
        lock.lock();
      }
      lock.unlock();
      group.done();
    });
    group.wait();
  });
}

// A signal meant for one that waits is not taken by one that begins to wait after it.
TEST_P(GoCond, TestCondSignalStealing) {
  run([&] {
    for (int round = 0; round < loops() / 4; ++round) {
      Mutex mutex;
      Cond cond;
      Channel<std::monostate> first_waits;
      Channel<std::monostate> first_woke;
      go([&] {
        std::unique_lock lock(mutex);
        first_waits.send({});
        cond.wait(lock);
        lock.unlock();
        first_woke.send({});
      });
      first_waits.receive();
      { const std::lock_guard lock(mutex); }  // now it does
      bool done = false;
      WaitGroup second;
      second.add();
      go([&] { cond.signal(); });
      go([&] {
        std::unique_lock lock(mutex);
        while (!done) cond.wait(lock);
        lock.unlock();
        second.done();
      });
      first_woke.receive();  // would wait for ever had the second taken the signal
      {
        const std::lock_guard lock(mutex);
        done = true;
      }
      cond.broadcast();
      second.wait();
    }
  });
}

// x/sync: a large acquire is not starved by small ones that come and go.
TEST_P(GoWeighted, TestLargeAcquireDoesntStarve) {
  constexpr int kSmall = 4;
  run([&] {
    Semaphore semaphore(kSmall);
    std::atomic<bool> running{true};
    WaitGroup group;
    group.add(kSmall);
    for (int i = 0; i < kSmall; ++i) semaphore.acquire(1);
    for (int i = 0; i < kSmall; ++i)
      go([&] {
        while (running) {
          yield();
          semaphore.release(1);
          semaphore.acquire(1);
        }
        semaphore.release(1);
        group.done();
      });
    semaphore.acquire(kSmall);
    running = false;
    semaphore.release(kSmall);
    group.wait();
  });
}

BULKHEAD_EVERYWHERE(GoMutex);
BULKHEAD_EVERYWHERE(GoRWMutex);
BULKHEAD_EVERYWHERE(GoWaitGroup);
BULKHEAD_EVERYWHERE(GoOnce);
BULKHEAD_EVERYWHERE(GoCond);
BULKHEAD_EVERYWHERE(GoWeighted);

}  // namespace
}  // namespace bulkhead::sched
