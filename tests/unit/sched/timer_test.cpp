#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <random>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using base::Clock;
using base::TimePoint;

using TimerTest = EverywhereTest;
BULKHEAD_EVERYWHERE(TimerTest);
using TickerTest = EverywhereTest;
BULKHEAD_EVERYWHERE(TickerTest);

TEST_P(TimerTest, SendsTheTimeOnceTheDelayIsOver) {
  run([] {
    const TimePoint before = Clock::now();
    Timer timer(10ms);
    const std::optional<TimePoint> fired = timer.channel().receive();
    ASSERT_TRUE(fired.has_value());
    EXPECT_GE(*fired, before + 10ms);
    EXPECT_LE(*fired, Clock::now());
    EXPECT_FALSE(timer.stop()) << "its value was received";
    EXPECT_FALSE(timer.channel().try_receive().has_value());
  });
}

TEST_P(TimerTest, OfNoDelayFiresAtOnce) {
  run([] {
    Timer(0ns).channel().receive();
    Timer(-5s).channel().receive();
    after(1ms).channel().receive();
  });
}

TEST_P(TimerTest, StoppedInTimeItNeverFires) {
  run([] {
    Timer timer(1h);
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.stop());
    Timer for_ever(base::Duration::max());
    EXPECT_TRUE(for_ever.stop());
  });
}

// As in Go from 1.23 on: before, the value stayed in the channel, and was taken for a new one.
TEST_P(TimerTest, AValueThatNobodyHasReceivedIsTakenBackByStopAndReset) {
  run([] {
    Timer timer(0ns);
    await([&] { return timer.channel().size() == 1; });
    EXPECT_TRUE(timer.stop());
    EXPECT_FALSE(timer.channel().try_receive().has_value());

    timer.reset(0ns);
    await([&] { return timer.channel().size() == 1; });
    const TimePoint again = Clock::now();
    EXPECT_TRUE(timer.reset(5ms));
    EXPECT_GE(*timer.channel().receive(), again + 5ms) << "of before the reset";
    EXPECT_FALSE(timer.reset(1h));
    EXPECT_TRUE(timer.stop());
  });
}

TEST_P(TimerTest, CallsItsFunctionOnce) {
  run([] {
    Channel<int> called(8);
    Timer timer(1ms, [&] { called.send(1); });
    called.receive();
    EXPECT_FALSE(timer.stop());
    EXPECT_FALSE(timer.reset(1ms));
    called.receive();
    {
      const Timer gone(1h, [&] { called.send(2); });
    }
    Timer other(0ns, [&] { called.send(3); });
    EXPECT_EQ(called.receive(), 3);
    EXPECT_EQ(called.size(), 0u);
  });
}

// In which order values are delivered is up to who delivers them: GoChosenTime tells the order.
TEST_P(TimerTest, ManyFireAndNoneBeforeItsDelay) {
  run([] {
    std::vector<Timer> timers;
    const TimePoint begin = Clock::now();
    for (int i = 20; i > 0; --i) timers.emplace_back(i * 1ms);
    for (int i = 1; i <= 20; ++i)
      EXPECT_GE(*timers[static_cast<std::size_t>(20 - i)].channel().receive(), begin + i * 1ms);
    timers.front() = Timer(1h);
    EXPECT_TRUE(timers.front().stop());
  });
}

TEST_P(TimerTest, IsACaseOfSelect) {
  run([] {
    Channel<int> never;
    bool fired = false;
    select(receive(never, [](auto) { FAIL(); }),
           receive(after(2ms).channel(), [&](std::optional<TimePoint>) { fired = true; }));
    EXPECT_TRUE(fired);
  });
}

// Whatever the two do, a value that is received after reset() is one of the new time.
TEST_P(TimerTest, NoStaleValueWhileItFiresAndIsResetAtTheSameTime) {
  run([this] {
    Timer timer(0ns);
    for (int i = 0; i < loops(); ++i) {
      const TimePoint now = Clock::now();
      timer.reset(i % 2 == 0 ? 0us : 20us);
      if (i % 3 == 0) yield();
      timer.stop();
      ASSERT_FALSE(timer.channel().try_receive().has_value()) << i;
      timer.reset(i % 5 * 1us);
      ASSERT_GE(*timer.channel().receive(), now) << i;
    }
  });
}

TEST_P(TimerTest, StopAndTheFunctionAgreeWhoWasFirst) {
  run([this] {
    for (int i = 0; i < loops(); ++i) {
      std::atomic<bool> called{false};
      Channel<int> ended(1);
      Timer timer(i % 30 * 1us, [&] {
        called = true;
        ended.send(0);
      });
      if (i % 2 == 0) yield();
      if (timer.stop()) {
        EXPECT_FALSE(called) << i;
      } else {
        ended.receive();
      }
    }
  });
}

// Armed from elsewhere it must be seen by a scheduler whose processors all sleep.
TEST(TimerElsewhereTest, OfASchedulerIsResetByAPlainThread) {
  Scheduler scheduler({.processors = 2});
  scheduler.run([] {
    Timer timer(1h);
    std::thread other([&] { EXPECT_TRUE(timer.reset(1ms)); });
    timer.channel().receive();
    other.join();
    std::thread third([&] {
      timer.reset(1h);
      EXPECT_TRUE(timer.stop());
    });
    third.join();
  });
}

TEST(TimerElsewhereTest, ThatIsPendingDoesNotKeepRunFromReturning) {
  Scheduler scheduler({.processors = 2});
  std::optional<Timer> timer;
  scheduler.run([&] { timer.emplace(1h); });
  EXPECT_TRUE(timer->stop());
}

TEST(TimerElsewhereTest, AFunctionCarriesTheTagOfWhoeverMadeTheTimer) {
  Scheduler scheduler({.processors = 1});
  scheduler.run([] {
    go(
        [] {
          Channel<Tag> tags;
          const Timer timer(1ms, [&] { tags.send(current_tag()); });
          EXPECT_EQ(tags.receive(), Tag{7});
        },
        7);
  });
}

TEST(TimerElsewhereTest, WhoWaitsForOneIsNoDeadlock) {
  std::atomic<bool> reported{false};
  Scheduler scheduler({.processors = 2, .on_deadlock = [&](const auto&) { reported = true; }});
  scheduler.run([] { after(20ms).channel().receive(); });
  EXPECT_FALSE(reported);
}

TEST_P(TickerTest, TicksUntilItIsStopped) {
  run([] {
    const TimePoint before = Clock::now();
    Ticker ticker(2ms);
    for (int i = 1; i <= 5; ++i) EXPECT_GE(*ticker.channel().receive(), before + i * 2ms);
    ticker.stop();
    EXPECT_FALSE(ticker.channel().try_receive().has_value());
    ticker.stop();
    ticker.reset(1ms);
    ticker.channel().receive();
    ticker.channel().receive();
    ticker = Ticker(1ms);
    ticker.channel().receive();
  });
}

TEST_P(TickerTest, ASlowReceiverLosesTicksAndIsToldTheOldestThatWaits) {
  run([] {
    Ticker ticker(1ms);
    sleep_for(20ms);
    EXPECT_LE(ticker.channel().size(), 1u);
    ticker.channel().receive();
    ticker.channel().receive();
  });
}

using TimerDeathTest = SchedTest;

TEST_F(TimerDeathTest, MisuseEndsTheProcess) {
  EXPECT_DEATH(Ticker(0ns), "a ticker with a period of 0 ns");
  EXPECT_DEATH(Timer(1h, [] {}).channel(), "has no channel");
}

}  // namespace
}  // namespace bulkhead::sched
