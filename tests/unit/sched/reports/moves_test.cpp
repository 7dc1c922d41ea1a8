// A goroutine is in one place at a time, and so is a stack, however they are moved about (Photon's
// issues 1245 and 1295: migration and stealing that put one into two queues, a thief that spins on
// one it may not take; brpc's 3520: two fibers on one stack).
#include <algorithm>
#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <random>
#include <vector>

#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched {
namespace {

class MovesTest : public SchedProcessorsTest {};

// Bursts of goroutines, some for one processor alone; each yields, sleeps or hands a value on, and
// counts its steps.
TEST_P(MovesTest, EachOfManyRunsItsStepsOnceThoughSomeArePinned) {
  constexpr int kSteps = 5;
  const std::size_t count = kSanitized ? 300 : 5'000;
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::vector<std::atomic<int>> steps(count), running(count);
  std::atomic<int> strays{0}, doubles{0};
  run(GetParam(), [&] {
    Channel<int> gate(16);
    const auto live = [&](std::size_t self, bool pinned) {
      std::minstd_rand random(static_cast<unsigned>(seed + self));
      const int home = current_processor();
      for (int step = 0; step < kSteps; ++step) {
        if (running[self].exchange(1) != 0) ++doubles;
        if (pinned && current_processor() != home) ++strays;
        ++steps[self];
        running[self] = 0;
        switch (random() % 3) {
          case 0:
            yield();
            break;
          case 1:
            sleep_for(std::chrono::microseconds(random() % 20));
            break;
          default:
            gate.send(0);
            gate.receive();
        }
      }
    };
    for (std::size_t i = 0; i < count; ++i) {
      const bool pinned = i % 25 == 0;
      go({.pin = pinned}, [&, i, pinned] { live(i, pinned); });
      if (i % 100 == 0) yield();
    }
    while (Scheduler::current()->alive() > 1) yield();
  });
  EXPECT_TRUE(std::all_of(steps.begin(), steps.end(), [](int n) { return n == kSteps; }));
  EXPECT_EQ(strays, 0);
  EXPECT_EQ(doubles, 0);
}

// Each marks its stack as its own, and looks whether it still is after each switch.
TEST_P(MovesTest, NoTwoThatAreAliveShareAStack) {
  constexpr int kBursts = 20;
  const int count = kSanitized ? 50 : 500;
  std::atomic<int> shared{0}, ended{0};
  run(GetParam(), [&] {
    for (int burst = 0; burst < kBursts; ++burst) {
      WaitGroup group;
      group.add(count);
      for (int i = 0; i < count; ++i)
        go([&, i] {
          volatile std::uint64_t mark[64];
          const std::uint64_t mine = current_task_id();
          for (volatile std::uint64_t& word : mark) word = mine;
          for (int step = 0; step < i % 4; ++step) {
            yield();
            if (std::any_of(std::begin(mark), std::end(mark),
                            [&](std::uint64_t word) { return word != mine; }))
              ++shared;
          }
          ++ended;
          group.done();
        });
      group.wait();
    }
  });
  EXPECT_EQ(shared, 0);
  EXPECT_EQ(ended, kBursts * count);
}

INSTANTIATE_TEST_SUITE_P(Processors, MovesTest, testing::Values(1u, 2u, 4u, kByTurns));

}  // namespace
}  // namespace bulkhead::sched
