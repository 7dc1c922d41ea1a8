#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <chrono>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <tuple>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using namespace std::chrono_literals;
using SelectTest = SchedTest;
using SelectProcessorsTest = SchedProcessorsTest;
using SelectDeathTest = SchedTest;

constexpr int kScale = kSanitized ? 10 : 1;

TEST_F(SelectTest, TakesWhatIsReadyAndElseDoesOtherwise) {
  run(1, [] {
    Channel<int> full(1), empty(1);
    full.send(7);
    std::string seen;
    const auto look = [&] {
      select(receive(full, [&](std::optional<int> value) { seen += std::to_string(*value); }),
             receive(empty, [&](std::optional<int>) { seen += "?"; }),
             otherwise([&] { seen += "-"; }));
    };
    look();
    look();
    EXPECT_EQ(seen, "7-");
  });
}

TEST_F(SelectTest, OneThatNeverWaitsLetsOthersRun) {
  run(1, [] {
    std::atomic<bool> stop{false};
    go([&] { stop = true; });
    Channel<int> empty;
    while (!stop) select(receive(empty, [](std::optional<int>) {}), otherwise([] {}));
  });
}

TEST_F(SelectTest, SendsWhereThereIsRoom) {
  run(1, [] {
    Channel<std::unique_ptr<int>> full(1), roomy(1);
    full.send(std::make_unique<int>(1));
    int sent = 0;
    select(send(full, std::make_unique<int>(2), [&] { sent = 1; }),
           send(roomy, std::make_unique<int>(3), [&] { sent = 2; }));
    EXPECT_EQ(sent, 2);
    EXPECT_EQ(**roomy.receive(), 3);
  });
}

TEST_F(SelectTest, AClosedChannelIsReadyForEver) {
  run(1, [] {
    Channel<int> closed(2);
    closed.send(5);
    closed.close();
    std::vector<std::optional<int>> seen;
    for (int i = 0; i < 3; ++i)
      select(receive(closed, [&](std::optional<int> value) { seen.push_back(value); }));
    EXPECT_EQ(seen, (std::vector<std::optional<int>>{5, std::nullopt, std::nullopt}));
  });
}

TEST_F(SelectTest, ANullChannelIsNeverReady) {
  run(1, [] {
    Channel<int>* const none = nullptr;
    Channel<int> ready(1);
    ready.send(1);
    for (int i = 0; i < 20; ++i) {
      bool happened = false;
      select(receive(none, [&](std::optional<int>) { ADD_FAILURE(); }),
             send(none, 1, [&] { ADD_FAILURE(); }), otherwise([&] { happened = true; }));
      EXPECT_TRUE(happened);
    }
    select(receive(none, [&](std::optional<int>) { ADD_FAILURE(); }),
           receive(ready, [&](std::optional<int> value) { EXPECT_EQ(value, 1); }));
  });
}

TEST_P(SelectProcessorsTest, TimeoutEndsIt) {
  run(GetParam(), [] {
    Channel<int> never;
    const base::TimePoint start = base::Clock::now();
    bool late = false;
    select(receive(never, [&](std::optional<int>) { ADD_FAILURE(); }),
           timeout(5ms, [&] { late = true; }));
    EXPECT_TRUE(late);
    EXPECT_GE(base::Clock::now() - start, 5ms);
    late = false;
    select(timeout(-1ms, [&] { late = true; }));
    EXPECT_TRUE(late);
    select(timeout(1ms, [&] { late = false; }));
    EXPECT_FALSE(late);
    // The losing timer is gone with its select, and nothing fires into a dead frame.
    Channel<int> ready(1);
    ready.send(1);
    for (int i = 0; i < 100; ++i) {
      select(receive(ready, [&](std::optional<int> value) { ready.send(*value); }),
             timeout(1ms, [&] { ADD_FAILURE(); }));
    }
    sleep_for(2ms);
  });
}

// Go's TestSelfSelect: each sends and receives on the same channels at once, never to itself.
TEST_P(SelectProcessorsTest, TwoThatSendAndReceiveOnOneChannelMeetEachOther) {
  const int rounds = 20'000 / kScale;
  for (const std::size_t capacity : {0u, 10u}) {
    run(GetParam(), [&] {
      Channel<int> channel(capacity);
      WaitGroup group;
      group.add(2);
      std::atomic<int> stopped{0};
      for (int self = 0; self < 2; ++self)
        go([&, self] {
          for (int i = 0; i < rounds; ++i) {
            // Whoever is done first leaves the other without a partner: so look with a timeout.
            select(send(channel, self, [] {}),
                   receive(channel,
                           [&](std::optional<int> from) {
                             EXPECT_TRUE(capacity != 0 || from != self);
                           }),
                   timeout(stopped == 0 ? base::Duration(1h) : base::Duration(1us), [] {}));
            if (i + 1 == rounds) ++stopped;
            if (i % 100 == 0) select(receive(channel, [](std::optional<int>) {}), otherwise([] {}));
          }
          // The other may wait with its long timeout: give it partners until it is done, too.
          while (stopped < 2)
            select(send(channel, self, [] {}), receive(channel, [](std::optional<int>) {}),
                   timeout(100us, [] {}));
          group.done();
        });
      group.wait();
      while (channel.try_receive()) {
      }
    });
  }
}

// Go's issue 2075: a losing select leaves the queue whole.
TEST_F(SelectTest, ALoserInTheMiddleOfAQueueLeavesItWhole) {
  run(1, [] {
    Channel<int> contended, other;
    std::array<int, 3> got{};
    WaitGroup group;
    group.add(3);
    const auto receive_once = [&](std::size_t at) {
      got[at] = *contended.receive();
      group.done();
    };
    go([&] { receive_once(0); });
    go([&] {
      select(receive(contended, [](std::optional<int>) { ADD_FAILURE(); }),
             receive(other, [&](std::optional<int> value) { got[1] = *value; }));
      group.done();
    });
    go([&] { receive_once(2); });
    yield();
    other.send(5);
    yield();
    contended.send(6);
    contended.send(7);
    group.wait();
    EXPECT_EQ(got, (std::array<int, 3>{6, 5, 7}));
  });
}

TEST_P(SelectProcessorsTest, CloseWakesASelect) {
  run(GetParam(), [] {
    Channel<int> closing, other;
    Channel<bool> done(1);
    go([&] {
      select(receive(closing, [&](std::optional<int> value) { done.send(!value.has_value()); }),
             receive(other, [&](std::optional<int>) { done.send(false); }));
    });
    yield();
    closing.close();
    EXPECT_EQ(done.receive(), true);
  });
}

TEST_F(SelectTest, TheSameChannelTwice) {
  run(2, [] {
    Channel<int> channel;
    Channel<int> got(1);
    go([&] {
      select(receive(channel, [&](std::optional<int> value) { got.send(*value); }),
             receive(channel, [&](std::optional<int> value) { got.send(*value); }));
    });
    channel.send(3);
    EXPECT_EQ(got.receive(), 3);
    EXPECT_FALSE(channel.try_send(4)) << "nobody waits any more";
  });
}

TEST_P(SelectProcessorsTest, PlainThreadsSelectToo) {
  const int values = 5'000 / kScale;
  Scheduler& scheduler = make({.processors = GetParam()});
  Channel<int> there, back;
  Channel<int> ended;
  int got = 0, late = 0;
  std::thread thread([&] {
    for (int sent = 0; got < values;)
      select(send(sent < values ? &there : nullptr, sent, [&] { ++sent; }),
             receive(back, [&](std::optional<int>) { ++got; }));
    there.close();
    select(receive(back, [](std::optional<int>) { ADD_FAILURE(); }), timeout(1ms, [&] { ++late; }));
    ended.close();
  });
  scheduler.run([&] {
    while (const auto value = there.receive()) back.send(*value);
    ended.receive();
  });
  thread.join();
  EXPECT_EQ(got, values);
  EXPECT_EQ(late, 1);
}

// Timeouts that race with values: each wait ends once, by the one or the other.
TEST_P(SelectProcessorsTest, ATimeoutAndAValueDoNotBothHappen) {
  const int rounds = 3'000 / kScale;
  run(GetParam(), [&] {
    Channel<int> channel;
    std::atomic<bool> stop{false};
    Channel<int> ended;
    int sent = 0, received = 0, late = 0;
    go([&] {
      while (!stop) {
        select(send(channel, 0, [&] { ++sent; }), timeout(50us, [] {}));
        yield();
      }
      ended.close();
    });
    for (int i = 0; i < rounds; ++i)
      select(receive(channel, [&](std::optional<int>) { ++received; }),
             timeout(std::chrono::microseconds(i % 100), [&] { ++late; }));
    stop = true;
    ended.receive();
    EXPECT_EQ(received + late, rounds);
    EXPECT_EQ(sent, received);
  });
}

TEST_F(SelectDeathTest, SendingOnAClosedChannelEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(run(1,
                   [] {
                     Channel<int> closed;
                     closed.close();
                     select(send(closed, 1, [] {}), otherwise([] {}));
                   }),
               "closed channel");
  EXPECT_DEATH(run(1,
                   [] {
                     Channel<int> channel;
                     go([&] {
                       yield();
                       channel.close();
                     });
                     select(send(channel, 1, [] {}));
                   }),
               "closed while a sender waited");
}

INSTANTIATE_TEST_SUITE_P(Processors, SelectProcessorsTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
