// Many want the same few words of memory at a time (Go's issues 57070 and 68578; Boost.Fiber's
// 254): whoever waits for a lock of a primitive gives up the core, and nobody waits for one that
// holds it and cannot run.
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <cstdint>
#include <fstream>
#include <string>
#include <thread>

#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

int this_thread_id() { return static_cast<int>(::syscall(SYS_gettid)); }

// How often a thread of this process has stopped to wait for something; to be preempted does not
// count. 0: it is gone.
std::uint64_t sleeps_of_thread(int thread) {
  std::ifstream status("/proc/self/task/" + std::to_string(thread) + "/status");
  const std::string wanted = "voluntary_ctxt_switches:";
  for (std::string word; status >> word;) {
    std::uint64_t count = 0;
    if (word == wanted && status >> count) return count;
  }
  return 0;
}

// All threads that are started while it lives run on one core.
class OneCore {
 public:
  OneCore() {
    EXPECT_EQ(::sched_getaffinity(0, sizeof before_, &before_), 0);
    cpu_set_t one;
    CPU_ZERO(&one);
    for (unsigned core = 0; core < CPU_SETSIZE && CPU_COUNT(&one) == 0; ++core)
      if (CPU_ISSET(core, &before_)) CPU_SET(core, &one);
    EXPECT_EQ(::sched_setaffinity(0, sizeof one, &one), 0);
  }
  ~OneCore() { EXPECT_EQ(::sched_setaffinity(0, sizeof before_, &before_), 0); }
  OneCore(const OneCore&) = delete;
  OneCore& operator=(const OneCore&) = delete;

 private:
  cpu_set_t before_;
};

class ContentionTest : public SchedProcessorsTest {};

// The holder cannot run, for all that the other knows: it must not spin until it does.
TEST(LockTest, WhoeverWaitsForLongSleeps) {
  Lock lock;
  std::atomic<int> waiting{0};
  lock.lock();
  std::thread waiter([&] {
    waiting = this_thread_id();
    const LockGuard guard(lock);
    waiting = 0;
  });
  while (waiting == 0) std::this_thread::yield();
  const int thread = waiting;
  const std::uint64_t before = sleeps_of_thread(thread);
  const auto deadline = std::chrono::steady_clock::now() + 1min;
  while (sleeps_of_thread(thread) < before + 20 && std::chrono::steady_clock::now() < deadline)
    std::this_thread::yield();
  EXPECT_GE(sleeps_of_thread(thread), before + 20);
  lock.unlock();
  waiter.join();
}

// A buffered channel as a semaphore.
TEST_P(ContentionTest, ManyThatUseAChannelAsASemaphoreAllGetTheirTurns) {
  constexpr int kGoroutines = 64;
  constexpr int kPlaces = 4;
  const int turns = kSanitized ? 100 : 5'000;
  std::atomic<int> inside{0}, most{0}, taken{0};
  run(GetParam(), [&] {
    Channel<int> places(kPlaces);
    WaitGroup group;
    group.add(kGoroutines);
    for (int i = 0; i < kGoroutines; ++i)
      go([&] {
        for (int turn = 0; turn < turns; ++turn) {
          places.send(0);
          const int now = ++inside;
          if (now > most) most = now;
          ++taken;
          if (turn % 8 == 0) yield();
          --inside;
          places.receive();
        }
        group.done();
      });
    group.wait();
  });
  EXPECT_EQ(taken, kGoroutines * turns);
  EXPECT_LE(most, kPlaces);
}

// More processors than cores: the thread that holds a channel's lock may be any but the one that
// runs.
TEST_P(ContentionTest, ProducersAndAConsumerOnOneCoreComeToTheirEnd) {
  constexpr int kProducers = 8;
  const int each = kSanitized ? 500 : 50'000;
  const OneCore one_core;
  std::int64_t sum = 0;
  run(GetParam(), [&] {
    Channel<int> items(2);
    WaitGroup producers;
    producers.add(kProducers);
    for (int i = 0; i < kProducers; ++i)
      go([&] {
        for (int item = 0; item < each; ++item) items.send(item);
        producers.done();
      });
    go([&] {
      producers.wait();
      items.close();
    });
    while (const auto item = items.receive()) sum += *item;
  });
  EXPECT_EQ(sum, std::int64_t{kProducers} * each * (each - 1) / 2);
}

INSTANTIATE_TEST_SUITE_P(Processors, ContentionTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
