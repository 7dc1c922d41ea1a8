// A wait with a timeout ends once, by the one or the other, however a notifier, the clock and a
// move to another processor race (Boost.Fiber's pull request 261 and its issues 251, 259, 123, 128,
// 133).
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/timer.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <random>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;

class TimedWaitsTest : public EverywhereTest {
 protected:
  static constexpr int kWaiters = 8;
  int rounds() const { return threads() || kSanitized ? 50 : 1'000; }  // of each waiter
};

// Between two rounds a waiter changes its place: it waits again, elsewhere.
TEST_P(TimedWaitsTest, AValueOrTheTimeoutEndsEachOfManyWaits) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::atomic<int> received{0}, late{0}, sent{0};
  run([&] {
    Channel<int> values;
    std::atomic<bool> over{false};
    WaitGroup waiters, notifiers;
    waiters.add(kWaiters);
    notifiers.add(2);
    for (int i = 0; i < kWaiters; ++i)
      go([&, i] {
        std::mt19937_64 random(seed + static_cast<std::uint64_t>(i));
        for (int round = 0; round < rounds(); ++round) {
          int ends = 0;
          const auto wait = std::chrono::microseconds(random() % 200);
          select(receive(values,
                         [&](auto) {
                           ++received;
                           ++ends;
                         }),
                 timeout(wait, [&] {
                   ++late;
                   ++ends;
                 }));
          ASSERT_EQ(ends, 1);
          if (round % 7 == 0) yield();
        }
        waiters.done();
      });
    for (int i = 0; i < 2; ++i)
      go([&] {
        while (!over) {
          select(send(values, 0, [&] { ++sent; }), timeout(30us, [] {}));
          yield();
        }
        notifiers.done();
      });
    waiters.wait();
    over = true;
    notifiers.wait();
  });
  EXPECT_EQ(received + late, kWaiters * rounds());
  EXPECT_EQ(sent, received);
}

// The same with a timer of its own in place of the timeout, which is stopped or set again while it
// fires: whoever stops it in time gets no value of it, and else one.
TEST_P(TimedWaitsTest, ATimersValueComesOnceOrItWasStopped) {
  const std::uint64_t seed = test_seed();
  SCOPED_TRACE(testing::Message() << "seed " << seed);
  std::atomic<int> fired{0}, stopped{0};
  run([&] {
    WaitGroup waiters;
    waiters.add(kWaiters);
    for (int i = 0; i < kWaiters; ++i)
      go([&, i] {
        std::mt19937_64 random(seed + static_cast<std::uint64_t>(i));
        Timer timer(1h);
        for (int round = 0; round < rounds(); ++round) {
          timer.reset(std::chrono::microseconds(random() % 50));
          sleep_for(std::chrono::microseconds(random() % 50));
          if (random() % 2 == 0 && timer.stop()) {
            ++stopped;
          } else if (timer.channel().try_receive()) {
            ++fired;
          } else {
            // It has not fired yet, and is left alone.
            timer.channel().receive();
            ++fired;
          }
          ASSERT_FALSE(timer.channel().try_receive().has_value());
        }
        waiters.done();
      });
    waiters.wait();
  });
  EXPECT_EQ(fired + stopped, kWaiters * rounds());
}

BULKHEAD_EVERYWHERE(TimedWaitsTest);

}  // namespace
}  // namespace bulkhead::sched
