#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <memory>
#include <string>
#include <thread>

#include "sched_test.hpp"

namespace bulkhead::sched {
namespace {

using ChannelTest = SchedTest;
using ChannelProcessorsTest = SchedProcessorsTest;
using ChannelDeathTest = SchedTest;

TEST_F(ChannelTest, SendBlocksUntilReceiverArrives) {
  std::string order;
  run(1, [&] {
    Channel<int> channel;
    go([&] {
      channel.send(7);
      order += "sent ";
    });
    yield();
    order += "receiving ";
    EXPECT_EQ(channel.receive(), 7);
    yield();
    order += "done";
  });
  EXPECT_EQ(order, "receiving sent done");
}

TEST_F(ChannelTest, ReceiveBlocksUntilSenderArrives) {
  std::string order;
  run(1, [&] {
    Channel<int> channel;
    go([&] {
      EXPECT_EQ(channel.receive(), 7);
      order += "received";
    });
    yield();
    order += "sending ";
    channel.send(7);
  });
  EXPECT_EQ(order, "sending received");
}

TEST_F(ChannelTest, BufferTakesItsCapacityWithoutReceiver) {
  Channel<int> channel(3);
  EXPECT_EQ(channel.capacity(), 3u);
  for (int i = 0; i < 3; ++i) channel.send(i);
  EXPECT_EQ(channel.size(), 3u);
  EXPECT_FALSE(channel.try_send(3));
  for (int i = 0; i < 3; ++i) EXPECT_EQ(channel.receive(), i);
  EXPECT_EQ(channel.try_receive(), std::nullopt);
}

TEST_F(ChannelTest, UnbufferedTryFailsWithoutPartner) {
  Channel<int> channel;
  EXPECT_FALSE(channel.try_send(1));
  EXPECT_EQ(channel.try_receive(), std::nullopt);
  EXPECT_FALSE(channel.closed());
}

TEST_F(ChannelTest, TrySendMeetsWaitingReceiver) {
  run(1, [] {
    Channel<int> channel;
    WaitGroup group;
    group.add();
    go([&] {
      EXPECT_EQ(channel.receive(), 5);
      group.done();
    });
    yield();
    EXPECT_TRUE(channel.try_send(5));
    group.wait();
  });
}

TEST_F(ChannelTest, FailedTrySendKeepsTheValue) {
  Channel<std::unique_ptr<int>> channel;
  auto value = std::make_unique<int>(4);
  EXPECT_FALSE(channel.try_send(std::move(value)));
  ASSERT_NE(value, nullptr);
  EXPECT_EQ(*value, 4);
}

TEST_F(ChannelTest, MoveOnlyValuesPassByEveryPath) {
  run(2, [] {
    for (std::size_t capacity : {0u, 1u, 8u}) {
      Channel<std::unique_ptr<int>> channel(capacity);
      go([&] {
        for (int i = 0; i < 100; ++i) channel.send(std::make_unique<int>(i));
        channel.close();
      });
      int expected = 0;
      while (auto value = channel.receive()) EXPECT_EQ(**value, expected++);
      EXPECT_EQ(expected, 100);
    }
  });
}

TEST_F(ChannelTest, WaitingSendersAreServedInOrder) {
  for (std::size_t capacity : {0u, 2u}) {
    run(1, [capacity] {
      Channel<int> channel(capacity);
      WaitGroup group;
      group.add(10);
      for (int i = 0; i < 10; ++i)
        go([&, i] {
          channel.send(i);
          group.done();
        });
      yield();  // all have sent or wait
      for (int i = 0; i < 10; ++i) EXPECT_EQ(channel.receive(), i);
      group.wait();
    });
  }
}

TEST_F(ChannelTest, WaitingReceiversAreServedInOrder) {
  std::vector<int> got(10, -1);
  run(1, [&] {
    Channel<int> channel;
    WaitGroup group;
    group.add(10);
    for (std::size_t i = 0; i < 10; ++i)
      go([&, i] {
        got[i] = channel.receive().value();
        group.done();
      });
    yield();
    for (int i = 0; i < 10; ++i) channel.send(i);
    group.wait();
  });
  for (int i = 0; i < 10; ++i) EXPECT_EQ(got[static_cast<std::size_t>(i)], i);
}

// None of these operations ever waits, so nothing else would let the other one run.
TEST_F(ChannelTest, OneThatNeverWaitsLetsOthersRun) {
  run(1, [] {
    std::atomic<bool> stop{false};
    go([&] { stop = true; });
    Channel<int> channel(1);
    while (!stop) {
      channel.send(1);
      EXPECT_EQ(channel.receive(), 1);
    }
    stop = false;
    go([&] { stop = true; });
    while (!stop) EXPECT_EQ(channel.try_receive(), std::nullopt);
    channel.send(1);
    stop = false;
    go([&] { stop = true; });
    while (!stop) EXPECT_FALSE(channel.try_send(2));
  });
}

TEST_P(ChannelProcessorsTest, CloseWakesAllReceivers) {
  std::atomic<int> woken{0};
  run(GetParam(), [&] {
    Channel<int> channel;
    WaitGroup group;
    group.add(50);
    for (int i = 0; i < 50; ++i)
      go([&] {
        EXPECT_EQ(channel.receive(), std::nullopt);
        ++woken;
        group.done();
      });
    yield();
    channel.close();
    group.wait();
  });
  EXPECT_EQ(woken, 50);
}

TEST_F(ChannelTest, ClosedChannelIsDrainedFirst) {
  Channel<int> channel(2);
  channel.send(1);
  channel.send(2);
  channel.close();
  EXPECT_TRUE(channel.closed());
  EXPECT_EQ(channel.receive(), 1);
  EXPECT_EQ(channel.try_receive(), 2);
  EXPECT_EQ(channel.receive(), std::nullopt);
  EXPECT_EQ(channel.try_receive(), std::nullopt);
}

TEST_P(ChannelProcessorsTest, ManyProducersAndConsumersLoseNothing) {
  constexpr std::uint64_t kProducers = 20, kConsumers = 15, kEach = kSanitized ? 200 : 5000;
  for (std::size_t capacity : {0u, 1u, 64u}) {
    std::atomic<std::uint64_t> sum{0}, count{0};
    run(GetParam(), [&] {
      Channel<std::uint64_t> channel(capacity);
      WaitGroup producers, consumers;
      producers.add(kProducers);
      consumers.add(kConsumers);
      for (std::uint64_t p = 0; p < kProducers; ++p)
        go([&, p] {
          for (std::uint64_t i = 0; i < kEach; ++i) channel.send(p * kEach + i);
          producers.done();
        });
      for (std::uint64_t c = 0; c < kConsumers; ++c)
        go([&] {
          while (auto value = channel.receive()) {
            sum += *value;
            ++count;
          }
          consumers.done();
        });
      producers.wait();
      channel.close();
      consumers.wait();
    });
    constexpr std::uint64_t kTotal = kProducers * kEach;
    EXPECT_EQ(count, kTotal);
    EXPECT_EQ(sum, kTotal * (kTotal - 1) / 2);
  }
}

TEST_P(ChannelProcessorsTest, GoroutineSendsAndPlainThreadReceives) {
  constexpr int kValues = kSanitized ? 300 : 3000;
  Channel<int> to_thread(2), to_goroutine;
  std::thread thread([&] {
    while (auto value = to_thread.receive()) to_goroutine.send(*value + 1);
    to_goroutine.close();
  });
  run(GetParam(), [&] {
    go([&] {
      for (int i = 0; i < kValues; ++i) to_thread.send(i);
      to_thread.close();
    });
    int expected = 1;
    while (auto value = to_goroutine.receive()) EXPECT_EQ(*value, expected++);
    EXPECT_EQ(expected, kValues + 1);
  });
  thread.join();
}

TEST_F(ChannelTest, PlainThreadsNeedNoScheduler) {
  Channel<int> channel;
  std::thread thread([&] {
    for (int i = 0; i < 1000; ++i) channel.send(i);
    channel.close();
  });
  int expected = 0;
  while (auto value = channel.receive()) EXPECT_EQ(*value, expected++);
  EXPECT_EQ(expected, 1000);
  thread.join();
}

TEST_F(ChannelDeathTest, SendOnClosedChannelEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Channel<int> channel(1);
        channel.close();
        channel.send(1);
      },
      "sent on a closed channel");
  EXPECT_DEATH(run(1,
                   [] {
                     Channel<int> channel;
                     go([&] { channel.send(1); });
                     yield();
                     channel.close();
                     yield();
                   }),
               "closed while a sender waited");
}

TEST_F(ChannelDeathTest, ClosingTwiceEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        Channel<int> channel;
        channel.close();
        channel.close();
      },
      "closed twice");
}

INSTANTIATE_TEST_SUITE_P(Processors, ChannelProcessorsTest, testing::Values(1u, 2u, 4u));

}  // namespace
}  // namespace bulkhead::sched
