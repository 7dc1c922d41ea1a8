// Seeded random mixes of everything, on goroutines and plain threads, with sums that must add up.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <mutex>
#include <random>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using StressTest = SchedProcessorsTest;

struct Mix {
  explicit Mix(std::size_t capacity) : channel(capacity) {}
  Channel<std::uint64_t> channel;
  Mutex mutex;
  std::uint64_t counts = 0;  // guarded by mutex
  std::atomic<std::uint64_t> counted{0};
  std::atomic<std::uint64_t> sent{0};
  std::atomic<std::uint64_t> received{0};
  WaitGroup senders;
};

// One sender: random steps, each of which any thread or goroutine may take.
void send_at_random(Mix& mix, std::uint64_t seed, int steps) {
  std::mt19937_64 random(seed);
  for (int i = 0; i < steps; ++i) {
    const std::uint64_t value = random() % 1000;
    switch (random() % 6) {
      case 0:
        yield();
        break;
      case 1:
        if (mix.channel.try_send(value)) mix.sent += value;
        break;
      case 2: {
        std::lock_guard guard(mix.mutex);
        ++mix.counts;
        ++mix.counted;
        if (value % 8 == 0) yield();
        break;
      }
      case 3:
        if (value % 50 == 0) sleep_for(std::chrono::microseconds(value % 200));
        break;
      default:
        mix.sent += value;
        mix.channel.send(value);
    }
  }
  mix.senders.done();
}

void receive_all(Mix& mix, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  while (auto value = mix.channel.receive()) {
    mix.received += *value;
    if (random() % 4 == 0) yield();
    if (auto more = mix.channel.try_receive()) mix.received += *more;
  }
}

TEST_P(StressTest, RandomMixesAddUp) {
  constexpr int kRounds = kSanitized ? 6 : 30;
  constexpr int kSteps = kSanitized ? 60 : 300;
  const std::uint64_t first = test_seed();
  for (int round = 0; round < kRounds; ++round) {
    const std::uint64_t seed = first + static_cast<std::uint64_t>(round);
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    std::mt19937_64 random(seed);
    Mix mix(random() % 5);
    const std::uint64_t goroutines = 1 + random() % 30, threads = random() % 3;
    mix.senders.add(static_cast<std::int64_t>(goroutines + threads));
    std::vector<std::thread> plain;
    for (std::uint64_t i = 0; i < threads; ++i)
      plain.emplace_back([&mix, own = random()] { send_at_random(mix, own, kSteps); });
    plain.emplace_back([&mix, own = random()] { receive_all(mix, own); });
    run(GetParam(), [&] {
      for (std::uint64_t i = 0; i < goroutines; ++i)
        go([&mix, own = random()] { send_at_random(mix, own, kSteps); });
      for (int i = 0; i < 3; ++i) go([&mix, own = random()] { receive_all(mix, own); });
      mix.senders.wait();
      mix.channel.close();
    });
    for (std::thread& thread : plain) thread.join();
    EXPECT_EQ(mix.sent, mix.received);
    EXPECT_EQ(mix.counts, mix.counted);
    if (HasFailure()) return;
  }
}

// What a waker leaves behind must not outlive the run: the scheduler is destroyed at once.
TEST_P(StressTest, SchedulerMayBeDestroyedAsSoonAsRunReturns) {
  for (int round = 0; round < (kSanitized ? 50 : 500); ++round) {
    Channel<int> channel;
    std::thread thread([&] { channel.send(1); });
    {
      Scheduler scheduler(options_of(GetParam()));
      scheduler.run([&] { EXPECT_EQ(channel.receive(), 1); });
    }
    thread.join();
  }
}

INSTANTIATE_TEST_SUITE_P(Processors, StressTest, testing::Values(1u, 2u, 4u, kByTurns));

}  // namespace
}  // namespace bulkhead::sched
