#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <string>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using RWMutexTest = EverywhereTest;
using RWMutexDeathTest = SchedTest;

TEST(RWMutexTryTest, ManyReadersOrOneWriter) {
  RWMutex mutex;
  EXPECT_TRUE(mutex.try_lock_shared());
  EXPECT_TRUE(mutex.try_lock_shared());
  EXPECT_FALSE(mutex.try_lock());
  mutex.unlock_shared();
  EXPECT_FALSE(mutex.try_lock());
  mutex.unlock_shared();
  EXPECT_TRUE(mutex.try_lock());
  EXPECT_FALSE(mutex.try_lock());
  EXPECT_FALSE(mutex.try_lock_shared());
  mutex.unlock();
  const std::shared_lock shared(mutex);
  EXPECT_FALSE(std::unique_lock(mutex, std::try_to_lock).owns_lock());
  EXPECT_TRUE(std::shared_lock(mutex, std::try_to_lock).owns_lock());
}

TEST_P(RWMutexTest, ReadersHoldItTogether) {
  RWMutex mutex;
  std::atomic<int> inside{0};
  run([&] {
    for (int i = 0; i < 5; ++i)
      go([&] {
        const std::shared_lock lock(mutex);
        ++inside;
        await([&] { return inside == 5; });
      });
  });
}

TEST_P(RWMutexTest, AWaitingWriterHoldsBackNewReaders) {
  RWMutex mutex;
  std::atomic<bool> wrote{false};
  run([&] {
    mutex.lock_shared();
    go([&] {
      const std::unique_lock lock(mutex);
      wrote = true;
    });
    await_parked(1, ParkReason::kRWMutexWrite);
    EXPECT_FALSE(mutex.try_lock_shared());
    EXPECT_FALSE(mutex.try_lock());
    go([&] {
      const std::shared_lock lock(mutex);
      EXPECT_TRUE(wrote);
    });
    await_parked(threads() ? 2 : 1, ParkReason::kRWMutexRead);
    EXPECT_FALSE(wrote);
    mutex.unlock_shared();
  });
  EXPECT_TRUE(wrote);
}

// Two writers and some readers wait for a third: the readers have their turn between the writers.
TEST_P(RWMutexTest, AllWaitingReadersComeBeforeTheNextWriter) {
  constexpr int kReaders = 4;
  RWMutex mutex;
  std::atomic<int> inside{0};
  std::string order;  // written by writers, and read by readers, under the mutex
  run([&] {
    mutex.lock();
    for (char name : {'a', 'b'}) {
      go([&, name] {
        const std::unique_lock lock(mutex);
        EXPECT_TRUE(name == 'a' || inside == kReaders);
        order += name;
      });
      await_parked(name - 'a' + 1, ParkReason::kRWMutexWrite);
    }
    for (int i = 0; i < kReaders; ++i)
      go([&] {
        const std::shared_lock lock(mutex);
        EXPECT_EQ(order, "m");
        ++inside;
        await([&] { return inside == kReaders; });  // all of them at once
      });
    await_parked(threads() ? 2 + kReaders : kReaders, ParkReason::kRWMutexRead);
    order += 'm';
    mutex.unlock();
  });
  EXPECT_EQ(order, "mab");
}

TEST_P(RWMutexTest, WritersAreServedInOrder) {
  RWMutex mutex;
  std::vector<int> order;
  run([&] {
    mutex.lock();
    for (int i = 0; i < 10; ++i) {
      go([&, i] {
        const std::unique_lock lock(mutex);
        order.push_back(i);
      });
      await_parked(i + 1, ParkReason::kRWMutexWrite);
    }
    mutex.unlock();
  });
  EXPECT_EQ(order, (std::vector{0, 1, 2, 3, 4, 5, 6, 7, 8, 9}));
}

// Readers that always overlap do not keep a writer out, and writers that always queue no reader.
TEST_P(RWMutexTest, NeitherSideStarves) {
  RWMutex mutex;
  std::atomic<int> reads{0}, writes{0};
  constexpr int kEach = 20;
  const auto over = [&] { return reads >= kEach && writes >= kEach; };
  run([&] {
    for (int i = 0; i < 3; ++i) {
      go([&] {
        while (!over()) {
          const std::shared_lock lock(mutex);
          ++reads;
          yield();
        }
      });
      go([&] {
        while (!over()) {
          const std::unique_lock lock(mutex);
          ++writes;
          yield();
        }
      });
    }
  });
  EXPECT_TRUE(over());
}

TEST_P(RWMutexTest, WritersExcludeEverybody) {
  const int each = threads() ? 100 : 200;  // one is a thread everywhere
  RWMutex mutex;
  int counter = 0;
  const auto work = [&] {
    for (int i = 0; i < each; ++i) {
      if (i % 4 == 0) {
        const std::unique_lock lock(mutex);
        const int seen = counter;
        if (i % 16 == 0) yield();
        counter = seen + 1;
      } else {
        const std::shared_lock lock(mutex);
        const int seen = counter;
        if (i % 15 == 0) yield();
        EXPECT_EQ(counter, seen);
      }
    }
  };
  std::thread plain(work);  // beside the others, also beside goroutines
  run([&] {
    for (int i = 0; i < 7; ++i) go(work);
  });
  plain.join();
  EXPECT_EQ(counter, 8 * each / 4);
}

// A reader that a writer's unlock finds counted, but not waiting yet.
TEST_P(RWMutexTest, AReaderOnItsWayIsLetInToo) {
  RWMutex mutex;
  std::atomic<int> ended{0};
  run([&] {
    for (int i = 0; i < 3; ++i)
      go([&, i] {
        for (int n = 0; n < 200 * loops(); ++n) {
          if (i == 0) {
            const std::unique_lock lock(mutex);
          } else {
            const std::shared_lock lock(mutex);
          }
        }
        ++ended;
      });
  });
  EXPECT_EQ(ended, 3);
}

TEST_P(RWMutexTest, MayBeDestroyedByWhoeverLockedItLast) {
  run([&] {
    for (int round = 0; round < loops() / 2; ++round) {
      auto mutex = std::make_unique<RWMutex>();
      std::atomic<bool> locked{false};
      go([&locked, &borrowed = *mutex, round] {
        if (round % 2 == 0) {
          borrowed.lock();
          locked = true;
          borrowed.unlock();
        } else {
          borrowed.lock_shared();
          locked = true;
          borrowed.unlock_shared();
        }
      });
      await([&] { return locked.load(); });
      mutex->lock();
      mutex->unlock();
      mutex.reset();
    }
  });
}

TEST_F(RWMutexDeathTest, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(RWMutex().unlock(), "not locked for writing");
  EXPECT_DEATH(RWMutex().unlock_shared(), "not locked for reading");
  EXPECT_DEATH(
      {
        RWMutex mutex;
        mutex.lock_shared();
        mutex.unlock();
      },
      "not locked for writing");
  EXPECT_DEATH(
      {
        RWMutex mutex;
        mutex.lock();
        mutex.unlock_shared();
      },
      "not locked for reading");
  EXPECT_DEATH(RWMutex().lock(), "destroyed while it is in use");
  EXPECT_DEATH(RWMutex().lock_shared(), "destroyed while it is in use");
}

BULKHEAD_EVERYWHERE(RWMutexTest);

}  // namespace
}  // namespace bulkhead::sched
