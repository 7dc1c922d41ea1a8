#include <bulkhead/sched/biased_lock.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

// Long enough for others to come in, if they can.
std::uint64_t after_a_while(std::uint64_t value) {
  for (int i = 0; i < 100; ++i) asm volatile("" : "+r"(value));
  return value;
}

class BiasedLockTest : public SchedTest {
 protected:
  template <class AnyLock>
  void take_away();
  template <class AnyLock>
  void many_threads_come();
};

// A plain thread takes the ownership away at any instant of the owner's locking and unlocking.
template <class AnyLock>
void BiasedLockTest::take_away() {
  constexpr int kRounds = kSanitized ? 50 : 500;
  Scheduler& scheduler = make({.processors = 1});
  for (int round = 0; round < kRounds; ++round) {
    AnyLock lock;
    std::uint64_t count = 0;
    std::uint64_t by_goroutines = 0;
    std::atomic<bool> stop{false};
    std::atomic<bool> begun{false};
    std::thread thread([&] {
      while (!begun) std::this_thread::yield();
      for (int i = 0; i < round % 50; ++i) begun = true;  // not always at the same instant
      for (int i = 0; i < 20; ++i) {
        const std::lock_guard guard(lock);
        ++count;
      }
      stop = true;
    });
    scheduler.run([&] {
      for (int i = 0; i < 2; ++i)
        go([&] {
          while (!stop) {
            for (int j = 0; j < 100; ++j) {
              const std::lock_guard guard(lock);
              count = after_a_while(count) + 1;
              ++by_goroutines;
            }
            begun = true;
            yield();
          }
        });
    });
    thread.join();
    ASSERT_EQ(count, by_goroutines + 20) << "round " << round;
  }
}

TEST_F(BiasedLockTest, TakingItAwayLosesNothing) { take_away<BiasedLock>(); }
TEST_F(BiasedLockTest, TakingAMutexAwayLosesNothing) { take_away<Mutex>(); }

template <class AnyLock>
void BiasedLockTest::many_threads_come() {
  constexpr int kRounds = kSanitized ? 20 : 100;
  Scheduler& scheduler = make({.processors = 1});
  for (int round = 0; round < kRounds; ++round) {
    AnyLock lock;
    std::uint64_t count = 0;
    std::atomic<bool> begun{false};
    std::vector<std::thread> threads;
    for (int i = 0; i < 4; ++i) {
      threads.emplace_back([&] {
        while (!begun) std::this_thread::yield();
        for (int j = 0; j < 50; ++j) {
          const std::lock_guard guard(lock);
          ++count;
        }
      });
    }
    scheduler.run([&] {
      for (int i = 0; i < 1000; ++i) {
        const std::lock_guard guard(lock);
        ++count;
        if (i == 10) begun = true;
      }
    });
    for (std::thread& thread : threads) thread.join();
    ASSERT_EQ(count, 1000u + 4 * 50);
  }
}

// A goroutine parks with the lock held, and a plain thread wakes it.
TEST_F(BiasedLockTest, ManyThreadsComeAtOnce) { many_threads_come<BiasedLock>(); }
TEST_F(BiasedLockTest, ManyThreadsComeForAMutexAtOnce) { many_threads_come<Mutex>(); }

TEST_F(BiasedLockTest, AChannelBetweenAProcessorAndAThread) {
  constexpr int kRounds = kSanitized ? 20 : 200;
  Scheduler& scheduler = make({.processors = 1});
  for (int round = 0; round < kRounds; ++round) {
    Channel<int> there, back;
    Channel<int> mine(1);
    std::thread thread([&] {
      while (const auto value = there.receive()) back.send(*value + 1);
    });
    scheduler.run([&] {
      for (int i = 0; i < 20; ++i) {
        mine.send(i);  // nobody else ever takes this one
        there.send(*mine.receive());
        EXPECT_EQ(back.receive(), i + 1);
      }
      there.close();
    });
    thread.join();
  }
}

}  // namespace
}  // namespace bulkhead::sched
