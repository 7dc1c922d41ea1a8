#include <bulkhead/sched/semaphore.hpp>
#include <memory>
#include <string>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using SemaphoreTest = EverywhereTest;
using SemaphoreDeathTest = SchedTest;

TEST(SemaphoreTryTest, TellsWhetherThereIsEnough) {
  Semaphore semaphore(3);
  EXPECT_TRUE(semaphore.try_acquire(2));
  EXPECT_FALSE(semaphore.try_acquire(2));
  EXPECT_TRUE(semaphore.try_acquire(1));
  EXPECT_FALSE(semaphore.try_acquire());
  EXPECT_TRUE(semaphore.try_acquire(0));
  semaphore.release(3);
  EXPECT_FALSE(semaphore.try_acquire(4));  // an attempt cannot wait for ever
  EXPECT_TRUE(semaphore.try_acquire(3));
}

TEST_P(SemaphoreTest, NeverMoreAreOutThanItsSize) {
  constexpr int kSize = 10;
  Semaphore semaphore(kSize);
  std::atomic<int> out{0};
  run([&] {
    for (int weight = 1; weight <= 8; ++weight)
      go([&, weight] {
        for (int i = 0; i < loops() / 2; ++i) {
          semaphore.acquire(weight);
          EXPECT_LE(out += weight, kSize);
          if (i % 8 == 0) yield();
          out -= weight;
          semaphore.release(weight);
        }
      });
  });
  EXPECT_TRUE(semaphore.try_acquire(kSize));
}

TEST_P(SemaphoreTest, ALargeOneIsNotOvertakenBySmallOnes) {
  Semaphore semaphore(3);
  std::atomic<bool> large{false};
  run([&] {
    semaphore.acquire(2);
    go([&] {
      semaphore.acquire(3);
      large = true;
      semaphore.release(3);
    });
    await_parked(1, ParkReason::kSemaphore);
    EXPECT_FALSE(semaphore.try_acquire(1));  // although one is free
    go([&] {
      semaphore.acquire(1);
      EXPECT_TRUE(large);
      semaphore.release(1);
    });
    await_parked(2, ParkReason::kSemaphore);
    semaphore.release(1);  // not enough for the large one yet
    for (int i = 0; i < 100; ++i) yield();
    EXPECT_FALSE(large);
    semaphore.release(1);
  });
  EXPECT_TRUE(large);
}

TEST_P(SemaphoreTest, OneReleaseWakesAllForWhomItIsEnough) {
  Semaphore semaphore(6);
  std::atomic<int> got{0};
  run([&] {
    semaphore.acquire(6);
    for (int weight : {1, 2, 3}) {
      go([&, weight] {
        semaphore.acquire(weight);
        ++got;
        await([&] { return got == 3; });  // all of them at once
        semaphore.release(weight);
      });
    }
    await_parked(3, ParkReason::kSemaphore);
    EXPECT_EQ(got, 0);
    semaphore.release(6);
  });
  EXPECT_EQ(got, 3);
}

TEST_F(SemaphoreDeathTest, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Semaphore(-1), "a semaphore of size -1");
  EXPECT_DEATH(Semaphore(3).acquire(4), "4 units are acquired of a semaphore of size 3");
  EXPECT_DEATH(Semaphore(3).acquire(-1), "-1 units are acquired");
  EXPECT_DEATH(Semaphore(3).try_acquire(-1), "-1 units are acquired");
  EXPECT_DEATH(Semaphore(3).release(-1), "-1 units are released");
  EXPECT_DEATH(
      {
        Semaphore semaphore(3);
        semaphore.acquire(1);
        semaphore.release(2);
      },
      "2 units are released of a semaphore of which 1 are out");
  EXPECT_DEATH(run(1,
                   [] {
                     auto semaphore = std::make_unique<Semaphore>(1);
                     semaphore->acquire();
                     go([&] { semaphore->acquire(); });
                     yield();
                     semaphore.reset();
                   }),
               "destroyed while somebody waits");
}

BULKHEAD_EVERYWHERE(SemaphoreTest);

}  // namespace
}  // namespace bulkhead::sched
