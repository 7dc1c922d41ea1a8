// Nobody is woken in vain, and nothing is moved in vain (Go's issue 13527; Tokio's 4941, 8065 and
// pull request 5712).
#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>

#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

class WakesTest : public SchedProcessorsTest {
 protected:
  struct WakeUps {
    std::uint64_t count = 0;
    // Whoever loses the core for a while is helped out, once each time: so the more time passes the
    // more are right. What is woken in vain comes much more often. Under a sanitizer a slice
    // takes so long that a wake-up may pay: all are right.
    std::uint64_t few = 0;
  };
  // How often `busy`, while it is all that runs, has others woken.
  WakeUps wake_ups_of(const std::function<void()>& busy) {
    WakeUps woken;
    Scheduler& scheduler = make({.processors = GetParam()});
    scheduler.run([&] {
      const std::uint64_t before = scheduler.wake_ups();
      const base::TimePoint start = base::Clock::now();
      busy();
      woken.count = scheduler.wake_ups() - before;
      woken.few = kSanitized ? woken.count
                             : 20 + static_cast<std::uint64_t>((base::Clock::now() - start) / 50us);
    });
    return woken;
  }
  static constexpr int kRounds = kSanitized ? 50'000 : 500'000;
};

TEST_P(WakesTest, AYieldOfTheOnlyGoroutineWakesNobody) {
  const WakeUps woken = wake_ups_of([] {
    for (int i = 0; i < kRounds; ++i) yield();
  });
  EXPECT_EQ(woken.count, 0u);
}

// A start wakes one; after that each has a processor, or both share the only one.
TEST_P(WakesTest, TwoThatYieldToOneAnotherWakeNobodyOverAndOver) {
  const WakeUps woken = wake_ups_of([] {
    WaitGroup group;
    group.add();
    go([&] {
      for (int i = 0; i < kRounds; ++i) yield();
      group.done();
    });
    for (int i = 0; i < kRounds; ++i) yield();
    group.wait();
  });
  EXPECT_LE(woken.count, woken.few);
}

// Each value makes the other runnable, which runs at once in the place of its waker.
TEST_P(WakesTest, TwoThatHandAValueToAndFroWakeNobodyAndStayTogether) {
  int apart = 0;
  const WakeUps woken = wake_ups_of([&] {
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
  EXPECT_LE(woken.count, woken.few);
  EXPECT_LE(apart, kSanitized ? kRounds : kRounds / 10);
}

INSTANTIATE_TEST_SUITE_P(Processors, WakesTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
