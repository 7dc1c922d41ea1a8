#include <bulkhead/sched/cond.hpp>
#include <memory>
#include <thread>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using CondDeathTest = SchedTest;

class CondTest : public EverywhereTest {
 protected:
  // Starts one who waits, and returns when it does: it is counted before wait() gives the mutex
  // back.
  template <class Then>
  void start_waiter(Then then) {
    int before = 0;
    {
      const std::unique_lock lock(mutex_);
      before = waiting_;
    }
    go([this, then] {
      std::unique_lock lock(mutex_);
      ++waiting_;
      cond_.wait(lock);
      EXPECT_TRUE(lock.owns_lock());
      then();
    });
    await([&] {
      const std::unique_lock lock(mutex_);
      return waiting_ == before + 1;
    });
  }

  Mutex mutex_;
  Cond cond_;
  int waiting_ = 0;  // of all that ever did; guarded by mutex_
};

TEST_P(CondTest, SignalsWakeOneEachInTheOrderOfWaiting) {
  constexpr int kWaiters = 10;
  std::vector<int> order;  // guarded by mutex_
  const auto woken = [&] {
    const std::unique_lock lock(mutex_);
    return static_cast<int>(order.size());
  };
  run([&] {
    for (int i = 0; i < kWaiters; ++i) start_waiter([&, i] { order.push_back(i); });
    for (int i = 0; i < kWaiters; ++i) {
      EXPECT_EQ(woken(), i);  // nobody wakes unasked
      cond_.signal();
      await([&] { return woken() > i; });
    }
  });
  for (int i = 0; i < kWaiters; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST_P(CondTest, BroadcastWakesAllThatWait) {
  std::atomic<int> woken{0};
  run([&] {
    for (int i = 0; i < 20; ++i) start_waiter([&] { ++woken; });
    cond_.broadcast();
    await([&] { return woken == 20; });
    start_waiter([&] { ++woken; });  // later: not meant
    EXPECT_EQ(woken, 20);
    cond_.signal();
  });
  EXPECT_EQ(woken, 21);
}

TEST_P(CondTest, WithNobodyWaitingNothingIsKept) {
  std::atomic<bool> woken{false};
  run([&] {
    cond_.signal();
    cond_.broadcast();
    start_waiter([&] { woken = true; });
    for (int i = 0; i < 100; ++i) yield();
    EXPECT_FALSE(woken);
    cond_.signal();
  });
  EXPECT_TRUE(woken);
}

// Between two sides that signal without the mutex, so that signals also meet those about to park.
TEST_P(CondTest, NoSignalIsLost) {
  const int rounds = 3 * loops();
  int turn = 0;
  Cond other;
  run([&] {
    for (int side = 0; side < 2; ++side)
      go([&, side] {
        for (int i = 0; i < rounds; ++i) {
          std::unique_lock lock(mutex_);
          (side == 0 ? cond_ : other).wait(lock, [&] { return turn % 2 == side; });
          ++turn;
          lock.unlock();
          (side == 0 ? other : cond_).signal();
        }
      });
  });
  EXPECT_EQ(turn, 2 * rounds);
}

TEST_P(CondTest, GoroutinesAndAPlainThreadShareABoundedQueue) {
  const int values = 3 * loops() / 10;
  std::vector<int> queue;
  Cond room;
  std::int64_t sum = 0;
  std::thread producer([&] {
    for (int i = 1; i <= values; ++i) {
      std::unique_lock lock(mutex_);
      room.wait(lock, [&] { return queue.size() < 4; });
      queue.push_back(i);
      cond_.signal();
    }
  });
  run([&] {
    for (int consumer = 0; consumer < 3; ++consumer)
      go([&] {
        for (int i = 0; i < values / 3; ++i) {
          std::unique_lock lock(mutex_);
          cond_.wait(lock, [&] { return !queue.empty(); });
          sum += queue.back();
          queue.pop_back();
          room.signal();
        }
      });
  });
  producer.join();
  EXPECT_EQ(sum, std::int64_t{values} * (values + 1) / 2);
}

TEST_F(CondDeathTest, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Mutex mutex;
        Cond cond;
        std::unique_lock lock(mutex, std::defer_lock);
        cond.wait(lock);
      },
      "without its mutex locked");
  EXPECT_DEATH(run(1,
                   [] {
                     Mutex first, second;
                     Cond cond;
                     go([&] {
                       std::unique_lock lock(first);
                       cond.wait(lock);
                     });
                     yield();
                     std::unique_lock lock(second);
                     cond.wait(lock);
                   }),
               "with two mutexes");
  EXPECT_DEATH(run(1,
                   [] {
                     Mutex mutex;
                     auto cond = std::make_unique<Cond>();
                     go([&] {
                       std::unique_lock lock(mutex);
                       cond->wait(lock);
                     });
                     yield();
                     cond.reset();
                   }),
               "destroyed while somebody waits");
}

BULKHEAD_EVERYWHERE(CondTest);

}  // namespace
}  // namespace bulkhead::sched
