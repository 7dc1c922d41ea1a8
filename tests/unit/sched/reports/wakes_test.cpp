// Nobody is woken in vain, and nothing is moved in vain (Go's issue 13527; Tokio's 4941, 8065 and
// pull request 5712): counted by how often threads go to sleep, and by how often goroutines find
// themselves elsewhere.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>

#include "tests/unit/sched/reports/threads_of.hpp"
#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

class WakesTest : public SchedProcessorsTest {
 protected:
  // Runs `busy` as the only thing, when all processors have begun; how often did threads sleep in
  // the meantime, beyond what the clock explains? While one processor runs, one of the others looks
  // after it now and then: after 100 µs, 200, 400 and so on, and then each 10 ms.
  std::int64_t sleeps_beyond_naps(const std::function<void()>& busy) {
    ThreadsOf threads;
    std::int64_t beyond = 0;
    make({.processors = GetParam(), .observer = &threads}).run([&] {
      const auto deadline = base::Clock::now() + 2min;
      while (threads.count() < GetParam() && base::Clock::now() < deadline) sleep_for(1ms);
      const base::TimePoint start = base::Clock::now();
      const std::uint64_t before = threads.sleeps();
      busy();
      const auto slept = static_cast<std::int64_t>(threads.sleeps() - before);
      // Each nap is a sleep, and each end of one may meet a lock: twice as many are room enough.
      const std::int64_t naps = 10 + (base::Clock::now() - start) / 10ms;
      beyond = slept - 2 * naps;
    });
    return beyond;
  }
  static constexpr int kRounds = kSanitized ? 50'000 : 500'000;
};

TEST_P(WakesTest, AYieldOfTheOnlyGoroutineWakesNobody) {
  EXPECT_LE(sleeps_beyond_naps([] {
              for (int i = 0; i < kRounds; ++i) yield();
            }),
            0);
}

TEST_P(WakesTest, TwoThatYieldToOneAnotherWakeNobodyOverAndOver) {
  const std::int64_t beyond = sleeps_beyond_naps([] {
    WaitGroup group;
    group.add();
    go([&] {
      for (int i = 0; i < kRounds / 2; ++i) yield();
      group.done();
    });
    for (int i = 0; i < kRounds / 2; ++i) yield();
    group.wait();
  });
  // With two processors each soon has one of them; with one there is nobody to wake.
  EXPECT_LE(beyond, kRounds / 100);
}

// Each value makes the other runnable, which runs at once in the place of its waker.
TEST_P(WakesTest, TwoThatHandAValueToAndFroWakeNobodyAndStayTogether) {
  std::atomic<int> apart{0};
  const std::int64_t beyond = sleeps_beyond_naps([&] {
    Channel<int> there, back;
    go([&] {
      while (const auto from = there.receive()) {
        if (*from != current_processor()) ++apart;
        back.send(0);
      }
      back.close();
    });
    for (int i = 0; i < kRounds; ++i) {
      there.send(current_processor());
      back.receive();
    }
    there.close();
    back.receive();
  });
  EXPECT_LE(beyond, kRounds / 100);
  // Now and then one is taken, when the processor's thread has lost its core to others.
  EXPECT_LE(apart, kRounds / 10);
}

INSTANTIATE_TEST_SUITE_P(Processors, WakesTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
