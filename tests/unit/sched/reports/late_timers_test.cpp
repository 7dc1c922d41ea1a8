// What sleeps runs in time beside goroutines that compute (Go's issue 38860): measured in
// scheduling points of theirs, not in time.
#include <algorithm>
#include <array>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>

#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

class LateTimersTest : public SchedProcessorsTest {
 protected:
  // As many as there are processors, each for a millisecond between its yields.
  static void start_computing(std::atomic<bool>& over, std::atomic<int>& points, WaitGroup& ended,
                              unsigned count) {
    ended.add(count);
    for (unsigned i = 0; i < count; ++i)
      go([&] {
        while (!over) {
          const base::TimePoint enough = base::Clock::now() + 1ms;
          while (base::Clock::now() < enough) {
          }
          ++points;
          yield();
        }
        ended.done();
      });
  }
};

TEST_P(LateTimersTest, ASleeperIsBackBeforeThoseThatComputeHaveYieldedOften) {
  constexpr int kRounds = 20;
  std::vector<int> late;  // by so many yields of others
  run(GetParam(), [&] {
    std::atomic<bool> over{false};
    std::atomic<int> points{0};
    WaitGroup ended;
    start_computing(over, points, ended, GetParam());
    for (int i = 0; i < kRounds; ++i) {
      const int before = points;
      sleep_for(1us);  // over when the first of them yields
      late.push_back(points - before);
    }
    over = true;
    ended.wait();
  });
  // One yield of each, as a rule; the machine may hold up the thread that has just seen to it.
  std::sort(late.begin(), late.end());
  EXPECT_LE(late[kRounds / 2], 2 * static_cast<int>(GetParam()));
}

TEST_P(LateTimersTest, NoTickerIsForgottenBesideThoseThatCompute) {
  constexpr int kTicks = 5;
  std::atomic<int> ticks{0};
  run(GetParam(), [&] {
    std::atomic<bool> over{false};
    std::atomic<int> points{0};
    WaitGroup computing, listening;
    start_computing(over, points, computing, GetParam());
    listening.add(8);
    for (int i = 0; i < 8; ++i)
      go([&] {
        Ticker ticker(2ms);
        for (int tick = 0; tick < kTicks; ++tick) {
          ticker.channel().receive();
          ++ticks;
        }
        listening.done();
      });
    listening.wait();
    over = true;
    computing.wait();
  });
  EXPECT_EQ(ticks, 8 * kTicks);
}

INSTANTIATE_TEST_SUITE_P(Processors, LateTimersTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
