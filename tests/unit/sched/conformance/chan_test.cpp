// What Go's tests of channels assert (test/chan and neighbours), each under its name there, in our
// own words. Those that need select are not here.
#include <array>
#include <atomic>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <deque>
#include <memory>
#include <string>
#include <variant>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using GoChan = EverywhereTest;
using GoChanDeathTest = SchedTest;

// fifo: values keep their order, in a buffer and through a line of goroutines that each take one.
TEST_P(GoChan, Fifo) {
  constexpr int kValues = 10;
  run([&] {
    Channel<int> buffered(kValues);
    for (int i = 0; i < kValues; ++i) buffered.send(i);
    for (int i = 0; i < kValues; ++i) EXPECT_EQ(buffered.receive(), i);

    Channel<int> values;
    std::deque<Channel<int>> turns(kValues + 1);
    for (int i = 0; i < kValues; ++i)
      go([&, i] {
        const auto at = static_cast<std::size_t>(i);
        turns[at].receive();
        EXPECT_EQ(values.receive(), i);
        turns[at + 1].send(1);
      });
    turns[0].send(0);
    for (int i = 0; i < kValues; ++i) values.send(i);
    turns[kValues].receive();
  });
}

// goroutines: a line of 10,000 that pass a value on.
TEST_P(GoChan, Goroutines) {
  const std::size_t length = threads() ? 200 : kSanitized ? 500 : 10'000;
  std::deque<Channel<int>> links(length + 1);
  run([&] {
    for (std::size_t i = 0; i < length; ++i)
      go([&left = links[i], &right = links[i + 1]] { left.send(right.receive().value() + 1); });
    links[length].send(0);
    EXPECT_EQ(links[0].receive(), static_cast<int>(length));
  });
}

// sieve1: a generator and a filter for each prime that comes out.
TEST_P(GoChan, Sieve1) {
  const auto generate = [](Sender<int> out) {
    for (int i = 2; i <= 100; ++i) out.send(i);
    out.close();
  };
  const auto filter = [](Receiver<int> in, Sender<int> out, int prime) {
    for (int value : in)
      if (value % prime != 0) out.send(value);
    out.close();
  };
  std::vector<int> primes;
  std::deque<Channel<int>> stages(1);
  run([&] {
    go([&, out = Sender(stages.front())] { generate(out); });
    for (;;) {
      Channel<int>& in = stages.back();
      const std::optional<int> prime = in.receive();
      if (!prime.has_value()) break;
      primes.push_back(*prime);
      Channel<int>& out = stages.emplace_back();
      go([&, prime] { filter(in, out, *prime); });
    }
  });
  EXPECT_EQ(primes, (std::vector{2,  3,  5,  7,  11, 13, 17, 19, 23, 29, 31, 37, 41,
                                 43, 47, 53, 59, 61, 67, 71, 73, 79, 83, 89, 97}));
}

// zerosize: elements that hold nothing.
TEST_P(GoChan, Zerosize) {
  run([&] {
    Channel<std::monostate> buffered(1), rendezvous;
    buffered.send({});
    EXPECT_EQ(buffered.size(), 1u);
    EXPECT_TRUE(buffered.receive().has_value());
    go([&] { rendezvous.send({}); });
    EXPECT_TRUE(rendezvous.receive().has_value());
  });
}

template <class T>
void try_both_ways(T value) {
  Channel<T> rendezvous, buffered(1);
  EXPECT_EQ(rendezvous.try_receive(), std::nullopt);
  EXPECT_FALSE(rendezvous.try_send(value));
  go([&] {
    while (!rendezvous.try_send(value)) yield();
  });
  EXPECT_EQ(rendezvous.receive(), value);
  WaitGroup received;
  received.add();
  go([&] {
    for (;;) {
      if (const std::optional<T> got = rendezvous.try_receive()) {
        EXPECT_EQ(*got, value);
        break;
      }
      yield();
    }
    received.done();
  });
  rendezvous.send(value);
  received.wait();
  EXPECT_EQ(buffered.try_receive(), std::nullopt);
  EXPECT_TRUE(buffered.try_send(value));
  EXPECT_FALSE(buffered.try_send(value));
  EXPECT_EQ(buffered.try_receive(), value);
}

// nonblock: a try fails on what is not ready and succeeds on what is, for elements of any size.
TEST_P(GoChan, Nonblock) {
  run([] {
    try_both_ways(true);
    try_both_ways(123);
    try_both_ways(std::string("so long that it lives on the heap"));
    try_both_ways(std::array<std::uint64_t, 3>{1, 2, 3});
  });
}

// ken/chan1: many receivers of one channel get each value once.
TEST_P(GoChan, KenChan1) {
  constexpr std::size_t kValues = 1000, kReceivers = 10;
  std::vector<std::atomic<int>> got(kValues);
  run([&] {
    Channel<std::size_t> channel;
    WaitGroup group;
    group.add(kReceivers);
    for (std::size_t r = 0; r < kReceivers; ++r)
      go([&] {
        for (std::size_t value : Receiver(channel)) {
          ++got[value];
          yield();
        }
        group.done();
      });
    for (std::size_t i = 0; i < kValues; ++i) channel.send(i);
    channel.close();
    group.wait();
  });
  for (const std::atomic<int>& count : got) EXPECT_EQ(count, 1);
}

// closedchan: what was buffered, then nothing for ever; whoever waits is told.
TEST_P(GoChan, Closedchan) {
  run([&] {
    for (std::size_t capacity : {0u, 1u, 2u}) {
      Channel<int> channel(capacity);
      for (std::size_t i = 0; i < capacity; ++i) channel.send(7);
      channel.close();
      for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(channel.receive(), 7);
      for (int i = 0; i < 3; ++i) {
        EXPECT_EQ(channel.receive(), std::nullopt);
        EXPECT_EQ(channel.try_receive(), std::nullopt);
      }
      for (int value : Receiver(channel)) ADD_FAILURE() << value;
    }
    // A value that a constructor makes of nothing is not taken for the end.
    Channel<int> zero(1);
    zero.send(0);
    zero.close();
    EXPECT_EQ(zero.receive(), 0);
    EXPECT_EQ(zero.receive(), std::nullopt);

    Channel<int> waited;
    WaitGroup told;
    told.add(3);
    for (int i = 0; i < 3; ++i)
      go([&] {
        EXPECT_EQ(waited.receive(), std::nullopt);
        told.done();
      });
    await_parked(3, ParkReason::kReceive);
    waited.close();
    told.wait();
  });
}

TEST_F(GoChanDeathTest, Closedchan) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (std::size_t capacity : {0u, 1u}) {
    const auto closed_then = [capacity](const std::function<void(Sender<int>)>& then) {
      Channel<int> channel(capacity);
      channel.close();
      then(channel);
    };
    EXPECT_DEATH(closed_then([](Sender<int> out) { out.send(1); }), "sent on a closed channel");
    EXPECT_DEATH(closed_then([](Sender<int> out) { out.try_send(1); }), "sent on a closed channel");
    EXPECT_DEATH(closed_then([](Sender<int> out) { out.close(); }), "closed twice");
  }
  EXPECT_DEATH(Sender<int>().close(), "no channel is closed");
}

// chancap: length and capacity, also of none.
TEST(GoChanCap, Chancap) {
  Channel<int> none(0), ten(10);
  EXPECT_EQ(none.capacity(), 0u);
  EXPECT_EQ(ten.capacity(), 10u);
  EXPECT_EQ(ten.size(), 0u);
  ten.send(1);
  EXPECT_EQ(ten.size(), 1u);
  EXPECT_EQ(Receiver<int>().capacity() + Receiver<int>().size(), 0u);
  EXPECT_EQ(Sender<int>().capacity() + Sender<int>().size(), 0u);
}

// perm: what an end may not do is refused by the compiler.
template <class End>
constexpr bool kSends = requires(End end) {
  end.send(1);
}
|| requires(End end) { end.try_send(1); };
template <class End>
constexpr bool kReceives = requires(End end) {
  end.receive();
}
|| requires(End end) { end.try_receive(); }
|| requires(End end) { end.begin(); };
template <class End>
constexpr bool kCloses = requires(End end) {
  end.close();
};

static_assert(kSends<Sender<int>> && kCloses<Sender<int>> && !kReceives<Sender<int>>);
static_assert(!kSends<Receiver<int>> && !kCloses<Receiver<int>> && kReceives<Receiver<int>>);
// A channel becomes either end by itself; no end becomes the other, or the channel again.
static_assert(std::is_convertible_v<Channel<int>&, Sender<int>>);
static_assert(std::is_convertible_v<Channel<int>&, Receiver<int>>);
static_assert(!std::is_convertible_v<const Channel<int>&, Sender<int>>);
static_assert(!std::is_constructible_v<Sender<int>, Receiver<int>>);
static_assert(!std::is_constructible_v<Receiver<int>, Sender<int>>);
static_assert(!std::is_constructible_v<Channel<int>, Sender<int>>);
static_assert(!std::is_constructible_v<Sender<int>, Channel<long>&>);

BULKHEAD_EVERYWHERE(GoChan);

}  // namespace
}  // namespace bulkhead::sched
