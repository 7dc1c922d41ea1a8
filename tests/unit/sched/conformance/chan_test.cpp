// What Go's tests of channels assert (test/chan and neighbours), each under its name there, in our
// own words. Those of closed channels and of select have files of their own.
#include <array>
#include <atomic>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <deque>
#include <limits>
#include <memory>
#include <queue>
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

// Sends and receives that whoever closes `stop` ends, by an exception.
struct Stopped {};
class Stoppable {
 public:
  explicit Stoppable(Channel<int>& stop) : stop_(stop) {}
  void send(Channel<int>& to, int value) const {
    select(sched::send(to, value, kNothing), receive(stop_, throw_stopped));
  }
  int receive_from(Channel<int>& from) const {
    int got = 0;
    select(receive(from, [&](std::optional<int> value) { got = value.value(); }),
           receive(stop_, throw_stopped));
    return got;
  }
  // Takes whatever comes and hands it on in order, without making the sender wait.
  void queue(Channel<int>& from, Channel<int>& to) const {
    for (std::deque<int> kept;;)
      select(receive(from, [&](std::optional<int> value) { kept.push_back(value.value()); }),
             sched::send(kept.empty() ? nullptr : &to, kept.empty() ? 0 : kept.front(),
                         [&] { kept.pop_front(); }),
             receive(stop_, throw_stopped));
  }
  // As a goroutine; `ended` counts.
  template <class Body>
  static void start(WaitGroup& ended, Body body) {
    ended.add();
    go([&ended, body = std::move(body)]() mutable {
      try {
        body();
      } catch (const Stopped&) {
      }
      ended.done();
    });
  }

 private:
  static void throw_stopped(std::optional<int>) { throw Stopped(); }

  Channel<int>& stop_;
};

// Of sieve2: a stream of multiples and the next one of them.
struct Multiples {
  int head;
  std::shared_ptr<Channel<int>> rest;
  bool operator<(const Multiples& other) const { return head > other.head; }  // least on top
};

// sieve2: the odd numbers without the multiples of the primes so far, merged by a heap; the primes
// are fed back.
TEST_P(GoChan, Sieve2) {
  std::vector<int> primes;
  run([&] {
    Channel<int> stop, out(10), composites(50), feedback(10), proxy(10), odd(50);
    const Stoppable stoppable(stop);
    WaitGroup ended;
    const auto count = [&](Channel<int>& to, int from, int step) {
      for (int n = from;; n += step) stoppable.send(to, n);
    };
    const auto merge = [&] {
      std::priority_queue<Multiples> heap;
      const auto add = [&](int prime) {
        auto rest = std::make_shared<Channel<int>>(10);
        Stoppable::start(ended, [&, rest, prime] { count(*rest, prime * prime, 2 * prime); });
        heap.push({stoppable.receive_from(*rest), rest});
      };
      add(3);
      for (int next = 5;;) {  // a prime whose multiples are not merged yet
        const Multiples least = heap.top();
        if (least.head >= next * next) {
          add(next);
          next = stoppable.receive_from(feedback);
          continue;
        }
        heap.pop();
        if (heap.empty() || heap.top().head != least.head) stoppable.send(composites, least.head);
        heap.push({stoppable.receive_from(*least.rest), least.rest});
      }
    };
    const auto sieve = [&] {
      int candidate = stoppable.receive_from(odd);
      for (;;) {
        const int composite = stoppable.receive_from(composites);
        for (; candidate < composite; candidate = stoppable.receive_from(odd)) {
          if (candidate > 5) stoppable.send(proxy, candidate);
          stoppable.send(out, candidate);
        }
        if (candidate == composite) candidate = stoppable.receive_from(odd);
      }
    };
    Stoppable::start(ended, [&] { count(odd, 5, 2); });
    Stoppable::start(ended, [&] { stoppable.queue(proxy, feedback); });
    Stoppable::start(ended, merge);
    Stoppable::start(ended, sieve);
    primes = {2, 3};
    while (primes.back() < 97) primes.push_back(out.receive().value());
    stop.close();
    ended.wait();
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

// makechan, chancap: no capacity that cannot be meant, a negative one above all.
TEST_F(GoChanDeathTest, Makechan) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto make = [](long capacity) { Channel<int> made(static_cast<std::size_t>(capacity)); };
  EXPECT_DEATH(make(-1), "a channel of capacity 18446744073709551615; at most");
  EXPECT_DEATH(make(1L << 59), "a channel of capacity 576460752303423488; at most");
  EXPECT_DEATH(make(std::numeric_limits<long>::max()), "a channel of capacity 9223372036854775807");
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
