// What Go's test/closedchan asserts: closed channels, by themselves and in selects, also with
// somebody waiting. In our own words.
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

// Each operation by itself, as the only arm of a select, and as one of two.
struct Way {
  const char* name;
  void (*send)(Channel<int>& to);
  bool (*try_send)(Channel<int>& to);
  std::optional<int> (*receive)(Channel<int>& from);
  std::optional<int> (*try_receive)(Channel<int>& from, bool& happened);
};

Channel<int>& never() {
  static Channel<int> channel;
  return channel;
}
const auto kWrong = [](auto&&...) { ADD_FAILURE() << "the wrong arm"; };

constexpr Way kWays[] = {
    {"directly", [](Channel<int>& to) { to.send(1); },
     [](Channel<int>& to) { return to.try_send(1); },
     [](Channel<int>& from) { return from.receive(); },
     [](Channel<int>& from, bool& happened) {
       const std::optional<int> value = from.try_receive();
       happened = value.has_value() || from.closed();
       return value;
     }},
    {"by select", [](Channel<int>& to) { select(send(to, 1, kNothing)); },
     [](Channel<int>& to) {
       bool sent = true;
       select(send(to, 1, kNothing), otherwise([&] { sent = false; }));
       return sent;
     },
     [](Channel<int>& from) {
       std::optional<int> got;
       select(receive(from, [&](std::optional<int> value) { got = value; }));
       return got;
     },
     [](Channel<int>& from, bool& happened) {
       std::optional<int> got;
       happened = true;
       select(otherwise([&] { happened = false; }),
              receive(from, [&](std::optional<int> value) { got = value; }));
       return got;
     }},
    {"by select of two",
     [](Channel<int>& to) { select(send(to, 1, kNothing), receive(never(), kWrong)); },
     [](Channel<int>& to) {
       bool sent = true;
       select(otherwise([&] { sent = false; }), receive(never(), kWrong), send(to, 1, kNothing));
       return sent;
     },
     [](Channel<int>& from) {
       std::optional<int> got;
       select(receive(never(), kWrong),
              receive(from, [&](std::optional<int> value) { got = value; }));
       return got;
     },
     [](Channel<int>& from, bool& happened) {
       std::optional<int> got;
       happened = true;
       select(receive(never(), kWrong),
              receive(from, [&](std::optional<int> value) { got = value; }),
              otherwise([&] { happened = false; }));
       return got;
     }},
};

using GoClosedchan = EverywhereTest;
using GoClosedchanDeathTest = SchedTest;

// What was buffered, then nothing for ever; a value of 0 is not taken for the end.
TEST_P(GoClosedchan, IsDrainedAndThenReadyForEver) {
  run([] {
    for (const Way& way : kWays)
      for (const std::size_t capacity : {0u, 1u, 2u, 3u})
        for (const bool tries : {false, true}) {
          Channel<int> channel(capacity);
          for (std::size_t i = 0; i < capacity; ++i) channel.send(0);
          bool happened = true;
          EXPECT_FALSE(channel.try_send(1)) << "it is full";
          EXPECT_FALSE(way.try_send(channel)) << "it is full, " << way.name;
          channel.close();
          const auto take = [&] {
            return tries ? way.try_receive(channel, happened) : way.receive(channel);
          };
          for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(take(), 0) << way.name;
          for (int i = 0; i < 3; ++i) EXPECT_EQ(take(), std::nullopt) << way.name;
          EXPECT_TRUE(happened) << way.name;
          for (int value : Receiver(channel)) ADD_FAILURE() << value;
        }
  });
}

TEST_P(GoClosedchan, WhileItIsOpenNothingIsReady) {
  run([] {
    for (const Way& way : kWays)
      for (const std::size_t capacity : {0u, 1u}) {
        Channel<int> channel(capacity);
        bool happened = true;
        EXPECT_EQ(way.try_receive(channel, happened), std::nullopt) << way.name;
        EXPECT_FALSE(happened) << way.name;
        EXPECT_EQ(way.try_send(channel), capacity == 1) << way.name;
      }
  });
}

TEST_P(GoClosedchan, WhoeverWaitsToReceiveIsTold) {
  run([this] {
    constexpr int kEach = 2;
    const int all = kEach * static_cast<int>(std::size(kWays));
    Channel<int> channel;
    WaitGroup told;
    told.add(all);
    for (const Way& way : kWays)
      for (int i = 0; i < kEach; ++i)
        go([&] {
          EXPECT_EQ(way.receive(channel), std::nullopt) << way.name;
          told.done();
        });
    await_parked(threads() ? all : kEach, ParkReason::kReceive);
    await_parked(threads() ? all : all - kEach, ParkReason::kSelect);
    channel.close();
    told.wait();
  });
}

TEST_F(GoClosedchanDeathTest, SendingOnItAndClosingItAgainEndTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  std::size_t capacity = 0;
  const auto closed_then = [&capacity](auto then) {
    Channel<int> channel(capacity);
    channel.close();
    then(channel);
  };
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    EXPECT_DEATH(closed_then(way.send), "a value is sent on a closed channel");
    capacity = 1 - capacity;
    EXPECT_DEATH(closed_then(way.try_send), "a value is sent on a closed channel");
  }
  EXPECT_DEATH(closed_then([](Channel<int>& closed) { closed.close(); }),
               "a channel is closed twice");
  EXPECT_DEATH(Sender<int>().close(), "a sender of no channel is closed");
}

TEST_F(GoClosedchanDeathTest, ClosingItUnderOneThatWaitsToSendEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const Way& way : kWays) {
    SCOPED_TRACE(way.name);
    EXPECT_DEATH(run(1,
                     [&way] {
                       Channel<int> channel;
                       go([&] { way.send(channel); });
                       yield();
                       channel.close();
                       for (;;) yield();
                     }),
                 "the channel was closed while a sender waited");
  }
}

BULKHEAD_EVERYWHERE(GoClosedchan);

}  // namespace
}  // namespace bulkhead::sched
