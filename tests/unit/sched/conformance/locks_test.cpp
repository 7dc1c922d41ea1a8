// What Go's tests of package sync and of x/sync assert beside those of sync_test.cpp, each under
// its name there, in our own words.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/cond.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/once.hpp>
#include <bulkhead/sched/rw_mutex.hpp>
#include <bulkhead/sched/semaphore.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <mutex>
#include <shared_mutex>
#include <type_traits>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

// TestCondCopy and the checks of vet: none of them can be copied.
template <class... Ts>
constexpr bool kStay = ((!std::is_copy_constructible_v<Ts> && !std::is_move_constructible_v<Ts> &&
                         !std::is_copy_assignable_v<Ts> && !std::is_move_assignable_v<Ts>)&&...);
static_assert(kStay<Mutex, RWMutex, Once, Cond, WaitGroup, Semaphore, Channel<int>>);

using GoLocks = EverywhereTest;
using GoLocksDeathTest = SchedTest;

// Readers through std::shared_lock: two of them keep the writer out until both have left, and the
// writer keeps out the next reader.
TEST_P(GoLocks, TestRLocker) {
  constexpr int kRounds = 10;
  run([] {
    RWMutex mutex;
    Channel<bool> writing(1), reading(1);
    go([&] {
      for (int i = 0; i < kRounds; ++i) {
        std::shared_lock(mutex).release();
        std::shared_lock(mutex).release();
        reading.send(true);
        mutex.lock();
        writing.send(true);
      }
    });
    for (int i = 0; i < kRounds; ++i) {
      reading.receive();
      mutex.unlock_shared();
      EXPECT_EQ(writing.try_receive(), std::nullopt) << "a writer beside a reader";
      mutex.unlock_shared();
      writing.receive();
      EXPECT_EQ(reading.try_receive(), std::nullopt) << "a reader beside a writer";
      mutex.unlock();
    }
  });
}

// Who gets in beside whom, with nobody waiting and with a writer that waits.
TEST_P(GoLocks, RWMutexMatrix) {
  run([this] {
    RWMutex mutex;
    const auto expect = [&](bool reader, bool writer) {
      const bool read = mutex.try_lock_shared();
      EXPECT_EQ(read, reader);
      if (read) mutex.unlock_shared();
      const bool wrote = mutex.try_lock();
      EXPECT_EQ(wrote, writer);
      if (wrote) mutex.unlock();
    };
    expect(true, true);
    mutex.lock();
    expect(false, false);
    mutex.unlock();
    mutex.lock_shared();
    expect(true, false);
    Channel<bool> written;
    go([&] {
      const std::lock_guard lock(mutex);
      written.send(true);
    });
    await_parked(1, ParkReason::kRWMutexWrite);
    if (!threads()) expect(false, false);
    mutex.unlock_shared();
    written.receive();
    mutex.lock();  // after the writer has left
    mutex.unlock();
    expect(true, true);
  });
}

TEST_P(GoLocks, TestWeightedTryAcquire) {
  run([] {
    Semaphore semaphore(2);
    std::vector<bool> tries;
    semaphore.acquire();
    tries.push_back(semaphore.try_acquire());
    tries.push_back(semaphore.try_acquire());
    semaphore.release(2);
    tries.push_back(semaphore.try_acquire());
    semaphore.acquire();
    EXPECT_EQ(tries, (std::vector{true, false, true}));
    semaphore.release(2);
  });
}

// Ten that want from one unit to all of them, again and again.
TEST_P(GoLocks, TestWeighted) {
  constexpr std::int64_t kUnits = 10;
  run([&] {
    Semaphore semaphore(kUnits);
    std::atomic<std::int64_t> out{0};
    WaitGroup group;
    group.add(kUnits);
    for (std::int64_t units = 1; units <= kUnits; ++units)
      go([&, units] {
        for (int i = 0; i < loops() / 10; ++i) {
          semaphore.acquire(units);
          EXPECT_LE(out += units, kUnits);
          yield();
          out -= units;
          semaphore.release(units);
        }
        group.done();
      });
    group.wait();
    EXPECT_TRUE(semaphore.try_acquire(kUnits));
  });
}

TEST_F(GoLocksDeathTest, TestWeightedPanic) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Semaphore(1).release(1), "1 units are released of a semaphore of which 0 are out");
}

TEST_F(GoLocksDeathTest, TestWaitGroupMisuse) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(WaitGroup().done(), "count falls to -1: more done\\(\\) than add\\(\\)");
  EXPECT_DEATH(
      {
        WaitGroup group;
        group.add(2);
        group.add(-5);
      },
      "count falls to -3: more done\\(\\) than add\\(\\)");
}

BULKHEAD_EVERYWHERE(GoLocks);

}  // namespace
}  // namespace bulkhead::sched
