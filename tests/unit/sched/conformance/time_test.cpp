// What Go's tests of package time assert of sleeping, timers and tickers, each under its name
// there, in our own words. What is exact only while nothing else is late runs in a chooser's time.
#include <algorithm>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <deque>
#include <mutex>
#include <optional>
#include <random>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using base::Clock;
using base::Duration;
using base::TimePoint;

using GoTime = EverywhereTest;

TEST_P(GoTime, TestSleep) {
  run([] {
    const TimePoint start = Clock::now();
    sleep_for(5ms);
    EXPECT_GE(Clock::now() - start, 5ms);
  });
}

// A function may make the next timer, and wait, and others still fire. (That of a plain thread's
// timer must not wait.)
TEST_P(GoTime, TestAfterFunc) {
  run([this] {
    Mutex mutex;  // a timer may fire before it is in the list
    int left = 10;
    std::deque<Timer> timers;
    Channel<bool> ended(1), go_on;
    std::atomic<int> returned{0};
    std::function<void()> next = [&] {
      {
        const std::lock_guard lock(mutex);
        if (--left >= 0) timers.emplace_back(0ns, next);
        if (left < 0) ended.send(true);
      }
      if (!threads()) go_on.receive();
      ++returned;
    };
    {
      const std::lock_guard lock(mutex);
      timers.emplace_back(0ns, next);
    }
    ended.receive();
    go_on.close();
    await([&] { return returned == 11; });
    EXPECT_EQ(timers.size(), 11u);
  });
}

TEST_P(GoTime, TestAfterStress) {
  run([] {
    std::atomic<bool> stop{false};
    WaitGroup group;
    group.add();
    go([&] {
      while (!stop) sleep_for(1ns);
      group.done();
    });
    Ticker ticker(1ns);
    for (int i = 0; i < 100; ++i) ticker.channel().receive();
    ticker.stop();
    stop = true;
    group.wait();
  });
}

TEST_P(GoTime, TestAfter) {
  run([] {
    const TimePoint start = Clock::now();
    const std::optional<TimePoint> fired = after(5ms).channel().receive();
    EXPECT_GE(*fired, start + 5ms);
    EXPECT_GE(Clock::now(), *fired);
  });
}

TEST_P(GoTime, TestAfterTick) {
  run([] {
    const TimePoint start = Clock::now();
    for (int i = 0; i < 10; ++i) after(1ms).channel().receive();
    EXPECT_GE(Clock::now() - start, 10ms);
  });
}

TEST_P(GoTime, TestTimerStopStress) {
  run([] {
    WaitGroup group;
    group.add(100);
    for (int i = 0; i < 100; ++i)
      go([&] {
        Timer timer(1h, [] { ADD_FAILURE() << "was stopped"; });
        sleep_for(1ms);
        EXPECT_TRUE(timer.stop());
        group.done();
      });
    group.wait();
  });
}

TEST_P(GoTime, TestSleepZeroDeadlock) {
  run([] {
    Channel<bool> ended;
    go([&] {
      for (int i = 0; i < 100; ++i) yield();
      ended.send(true);
    });
    for (int i = 0; i < 100; ++i) {
      sleep_for(0ns);
      Channel<bool> own(1);
      own.send(true);
      own.receive();
    }
    ended.receive();
  });
}

// The longest time is not taken for one that is over, nor the most negative for one to come.
TEST_P(GoTime, TestOverflowSleep) {
  run([] {
    bool short_one = false;
    select(receive(after(Duration::max()).channel(), [](auto) { ADD_FAILURE() << "for ever"; }),
           timeout(Duration::max(), [] { ADD_FAILURE() << "for ever"; }),
           receive(after(5ms).channel(), [&](auto) { short_one = true; }));
    EXPECT_TRUE(short_one);
    sleep_for(Duration::min());
    after(Duration::min()).channel().receive();
    select(timeout(Duration::min(), kNothing));
  });
}

TEST_P(GoTime, TestZeroTimer) {
  run([this] {
    for (int i = 0; i < loops(); ++i) {
      Timer timer(0ns);
      timer.channel().receive();
    }
  });
}

// Set again and again to a time that is over, it fires.
TEST_P(GoTime, TestTimerModifiedEarlier) {
  run([this] {
    for (int i = 0; i < loops() / 10; ++i) {
      Timer timer(1h);
      for (int j = 0; j < 10; ++j) {
        timer.stop();
        timer.reset(-1h);
      }
      timer.channel().receive();
      EXPECT_EQ(timer.channel().try_receive(), std::nullopt) << "fired twice";
    }
  });
}

// A hundred timers are set and stopped in random order: each says what it was, and fires when it
// should.
TEST_P(GoTime, TestAdjustTimers) {
  run([] {
    struct Tried {
      std::optional<Timer> timer;
      int state = 0;
    };
    std::minstd_rand random(1);
    std::vector<Tried> tried(100);
    const auto step = [](Tried& one) {
      std::optional<Timer>& timer = one.timer;
      switch (one.state++) {
        case 0:
          timer.emplace(0ns);
          break;
        case 1:
          timer->channel().receive();
          EXPECT_FALSE(timer->stop()) << "it was received";
          break;
        case 2:
        case 4:
        case 6:
          EXPECT_FALSE(timer->reset(1min * one.state)) << "it was stopped";
          break;
        case 3:
        case 5:
        case 7:
          EXPECT_TRUE(timer->stop());
          break;
        case 8:
          EXPECT_FALSE(timer->reset(0ns));
          break;
        default:
          timer->channel().receive();
          return true;
      }
      return false;
    };
    while (!tried.empty()) {
      const std::size_t which = random() % tried.size();
      if (!step(tried[which])) continue;
      tried[which] = std::move(tried.back());
      tried.pop_back();
    }
  });
}

TEST_P(GoTime, TestTeardown) {
  run([] {
    for (int i = 0; i < 3; ++i) {
      Ticker ticker(1ms);
      ticker.channel().receive();
      ticker.stop();
      EXPECT_EQ(ticker.channel().try_receive(), std::nullopt);
    }
  });
}

BULKHEAD_EVERYWHERE(GoTime);

class GoChosenTime : public SchedTest {
 protected:
  // In time that passes only while all wait, with many orders of those that run.
  static void run_each(const std::function<void()>& body) {
    for (std::uint64_t seed = 1; seed <= 20; ++seed) {
      SCOPED_TRACE(seed);
      const auto chooser = random_chooser(seed);
      Scheduler({.chooser = chooser.get()}).run(body);
    }
  }
};

TEST_F(GoChosenTime, TestAfterStop) {
  run_each([] {
    const Timer before(100ms, kNothing);
    Timer first(50ms);
    bool called = false;
    Timer second(150ms, [&] { called = true; });
    EXPECT_TRUE(first.stop());
    EXPECT_TRUE(second.stop());
    after(200ms).channel().receive();
    EXPECT_EQ(first.channel().try_receive(), std::nullopt);
    EXPECT_FALSE(called);
    EXPECT_FALSE(second.stop());
  });
}

TEST_F(GoChosenTime, TestAfterQueuing) {
  run_each([] {
    constexpr std::array kSlots{5, 3, 6, 6, 6, 1, 1, 2, 7, 9, 4, 8, 0};
    Channel<int> results(kSlots.size());
    const TimePoint start = now();
    for (const int slot : kSlots)
      go([&, slot, timer = std::make_shared<Timer>(slot * 1ms)] {
        EXPECT_EQ(timer->channel().receive(), start + slot * 1ms);
        results.send(slot);
      });
    std::vector<int> order;
    for (std::size_t i = 0; i < kSlots.size(); ++i) order.push_back(results.receive().value());
    EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
  });
}

TEST_F(GoChosenTime, TestReset) {
  run_each([] {
    const TimePoint start = now();
    Timer timer(100ms);
    sleep_for(50ms);
    EXPECT_TRUE(timer.reset(150ms));
    sleep_for(100ms);
    EXPECT_EQ(timer.channel().try_receive(), std::nullopt) << "at the time of before";
    EXPECT_EQ(timer.channel().receive(), start + 200ms);
    EXPECT_FALSE(timer.reset(50ms)) << "it was received";
    EXPECT_EQ(timer.channel().receive(), start + 250ms);
  });
}

TEST_F(GoChosenTime, TestTicker) {
  run_each([] {
    const TimePoint start = now();
    Ticker ticker(20ms);
    for (int i = 1; i <= 5; ++i) EXPECT_EQ(ticker.channel().receive(), start + i * 20ms);
    ticker.reset(40ms);
    for (int i = 1; i <= 5; ++i) EXPECT_EQ(ticker.channel().receive(), start + 100ms + i * 40ms);
    ticker.stop();
    sleep_for(80ms);
    EXPECT_EQ(ticker.channel().try_receive(), std::nullopt);
  });
}

using GoTimeDeathTest = SchedTest;

TEST_F(GoTimeDeathTest, TestNewTickerLtZeroDuration) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Ticker(-1ns), "a ticker with a period of -1 ns");
  EXPECT_DEATH(Ticker(0ns), "a ticker with a period of 0 ns");
}

TEST_F(GoTimeDeathTest, TestTickerResetLtZeroDuration) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Ticker ticker(1s);
        ticker.reset(0ns);
      },
      "a ticker with a period of 0 ns");
}

}  // namespace
}  // namespace bulkhead::sched
