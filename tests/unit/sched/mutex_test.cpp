#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <mutex>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using MutexTest = SchedTest;
using MutexProcessorsTest = SchedProcessorsTest;
using MutexDeathTest = SchedTest;

TEST_F(MutexTest, TryLockTellsWhetherItIsFree) {
  Mutex mutex;
  EXPECT_TRUE(mutex.try_lock());
  EXPECT_FALSE(mutex.try_lock());
  mutex.unlock();
  EXPECT_TRUE(mutex.try_lock());
  mutex.unlock();
}

TEST_P(MutexProcessorsTest, GoroutinesAndThreadsCountTogether) {
  constexpr int kGoroutines = 20, kThreads = 3, kEach = kSanitized ? 200 : 5000;
  Mutex mutex;
  int counter = 0;
  const auto count = [&] {
    for (int i = 0; i < kEach; ++i) {
      std::lock_guard guard(mutex);
      ++counter;
      if (i % 16 == 0) yield();  // held across a switch
    }
  };
  std::vector<std::thread> threads;
  for (int i = 0; i < kThreads; ++i) threads.emplace_back(count);
  run(GetParam(), [&] {
    for (int i = 0; i < kGoroutines; ++i) go(count);
  });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(counter, (kGoroutines + kThreads) * kEach);
}

TEST_P(MutexProcessorsTest, AGreedyGoroutineStarvesNobody) {
  run(GetParam(), [] {
    Mutex mutex;
    std::atomic<bool> served{false};
    WaitGroup group;
    group.add();
    mutex.lock();
    go([&] {
      std::lock_guard guard(mutex);
      served = true;
      group.done();
    });
    yield();  // the other waits, or will
    // Unlocks and takes it again at once; ends only when the other has had its turn.
    while (!served) {
      mutex.unlock();
      mutex.lock();
      yield();
    }
    mutex.unlock();
    group.wait();
  });
}

TEST_F(MutexDeathTest, UnlockOfAFreeMutexEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        mutex.unlock();
      },
      "not locked");
}

INSTANTIATE_TEST_SUITE_P(Processors, MutexProcessorsTest,
                         testing::Values(1u, 2u, 4u, kByTurns, kMigrating));

}  // namespace
}  // namespace bulkhead::sched
