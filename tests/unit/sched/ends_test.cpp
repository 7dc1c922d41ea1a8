#include <unistd.h>

#include <algorithm>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/select.hpp>
#include <memory>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using EndsTest = EverywhereTest;
using EndsDeathTest = SchedTest;

TEST_P(EndsTest, RangeForTakesAllUntilTheChannelIsClosed) {
  run([&] {
    for (std::size_t capacity : {0u, 3u}) {
      Channel<std::unique_ptr<int>> channel(capacity);
      go([out = Sender(channel)] {
        for (int i = 0; i < 20; ++i) out.send(std::make_unique<int>(i));
        out.close();
      });
      int expected = 0;
      for (std::unique_ptr<int>& value : Receiver(channel)) EXPECT_EQ(*value, expected++);
      EXPECT_EQ(expected, 20);
    }
  });
}

TEST(EndsViewTest, TheySayWhatTheChannelSays) {
  Channel<int> channel(2);
  const Sender<int> out = channel;
  const Receiver<int> in = channel;
  EXPECT_TRUE(out.try_send(1));
  const int two = 2;
  EXPECT_TRUE(out.try_send(two));
  EXPECT_FALSE(out.try_send(3));
  EXPECT_EQ(out.size(), 2u);
  EXPECT_EQ(in.size(), 2u);
  EXPECT_EQ(out.capacity(), 2u);
  EXPECT_EQ(in.capacity(), 2u);
  EXPECT_EQ(in.try_receive(), 1);
  EXPECT_FALSE(in.closed());
  out.close();
  EXPECT_TRUE(in.closed());
  EXPECT_EQ(in.receive(), 2);
  EXPECT_EQ(in.receive(), std::nullopt);
  Channel<int> other;
  EXPECT_EQ(out, Sender(channel));
  EXPECT_NE(in, Receiver(other));
}

TEST_P(EndsTest, TheyAreCasesOfSelect) {
  run([&] {
    Channel<int> channel;
    go([out = Sender(channel)] {
      select(send(Sender<int>(), 1, [] { FAIL() << "sent to nobody"; }), send(out, 2, [] {}));
    });
    int got = 0;
    select(receive(Receiver<int>(), [](std::optional<int>) { FAIL() << "received from nobody"; }),
           receive(Receiver(channel), [&](std::optional<int> value) { got = value.value(); }));
    EXPECT_EQ(got, 2);
  });
}

TEST(EndsViewTest, OfNoChannelTheyHaveNothing) {
  const Sender<int> out;
  const Receiver<int> in;
  EXPECT_FALSE(out.try_send(1));
  EXPECT_EQ(in.try_receive(), std::nullopt);
  EXPECT_EQ(out.size() + out.capacity() + in.size() + in.capacity(), 0u);
  EXPECT_FALSE(in.closed());
}

TEST_F(EndsDeathTest, OfNoChannelTheyWaitForEver) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto parked = [](ParkReason reason) {
    const std::vector<TaskInfo> tasks = Scheduler::current()->tasks();
    return std::any_of(tasks.begin(), tasks.end(), [&](const TaskInfo& task) {
      return task.state == Task::kParked && task.reason == reason;
    });
  };
  EXPECT_EXIT(
      run(1,
          [&] {
            go([] { Sender<int>().send(1); });
            go([] { Receiver<int>().receive(); });
            while (!parked(ParkReason::kNilSend) || !parked(ParkReason::kNilReceive)) yield();
            for (int i = 0; i < 100; ++i) yield();
            ::_exit(parked(ParkReason::kNilSend) && parked(ParkReason::kNilReceive) ? 0 : 1);
          }),
      testing::ExitedWithCode(0), "");
}

TEST_F(EndsDeathTest, ClosingASenderOfNoChannelEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(Sender<int>().close(), "a sender of no channel is closed");
}

BULKHEAD_EVERYWHERE(EndsTest);

}  // namespace
}  // namespace bulkhead::sched
