// What Go's runtime/chan_test asserts, each under its name there, in our own words.
#include <any>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cmath>
#include <map>
#include <mutex>
#include <numeric>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

class GoRuntimeChan : public EverywhereTest {
 protected:
  // How much there is to do: of Go's numbers, or where it is slow a tenth or a hundredth.
  int scaled(int count) const { return threads() ? count / 100 : kSanitized ? count / 10 : count; }

  // (Plain threads may not wait yet when await_parked() returns: what is asserted holds all the
  // same.)
  void receivers_wait_for_senders(std::size_t capacity);
  void senders_wait_for_room(std::size_t capacity);
  void closing_ends_it(std::size_t capacity);
  void order_and_number(std::size_t capacity);
};

void GoRuntimeChan::receivers_wait_for_senders(std::size_t capacity) {
  run([&] {
    Channel<int> channel(capacity);
    std::atomic<int> received{0};
    for (int i = 0; i < 2; ++i)
      go([&] {
        channel.receive();
        ++received;
      });
    await_parked(2, ParkReason::kReceive);
    EXPECT_EQ(received, 0);
    EXPECT_EQ(channel.try_receive(), std::nullopt);
    select(receive(channel, [](std::optional<int>) { ADD_FAILURE(); }), otherwise(kNothing));
    channel.send(0);
    channel.send(0);
    await([&] { return received == 2; });
  });
}

void GoRuntimeChan::senders_wait_for_room(std::size_t capacity) {
  run([&] {
    Channel<int> channel(capacity);
    EXPECT_EQ(channel.capacity(), capacity);
    EXPECT_EQ(channel.size(), 0u);
    for (std::size_t i = 0; i < capacity; ++i) channel.send(1);
    EXPECT_EQ(channel.size(), capacity);
    std::atomic<bool> sent{false};
    go([&] {
      channel.send(2);
      sent = true;
    });
    await_parked(1, ParkReason::kSend);
    EXPECT_FALSE(sent);
    EXPECT_FALSE(channel.try_send(3));
    select(send(channel, 3, [] { ADD_FAILURE(); }), otherwise(kNothing));
    for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(channel.receive(), 1);
    EXPECT_EQ(channel.receive(), 2);
    await([&] { return sent.load(); });
  });
}

void GoRuntimeChan::closing_ends_it(std::size_t capacity) {
  run([&] {
    Channel<std::size_t> channel(capacity);
    for (std::size_t i = 0; i < capacity; ++i) channel.send(i);
    channel.close();
    for (std::size_t i = 0; i < capacity; ++i) EXPECT_EQ(channel.receive(), i);
    for (int i = 0; i < 2; ++i) EXPECT_EQ(channel.receive(), std::nullopt);
  });
  run([&] {
    Channel<int> channel(capacity);
    Channel<bool> told;
    go([&] { told.send(channel.receive() == std::nullopt); });
    await_parked(1, ParkReason::kReceive);
    channel.close();
    EXPECT_EQ(told.receive(), true);
  });
}

void GoRuntimeChan::order_and_number(std::size_t capacity) {
  constexpr int kEach = 4;
  const int values = threads() ? 50 : 1000;
  run([&] {
    Channel<int> channel(capacity);
    go([&] {
      for (int i = 0; i < 100; ++i) channel.send(i);
    });
    for (int i = 0; i < 100; ++i) EXPECT_EQ(channel.receive(), i);

    Channel<std::map<int, int>> counts;
    for (int i = 0; i < kEach; ++i) {
      go([&] {
        for (int n = 0; n < values; ++n) channel.send(n);
      });
      go([&] {
        std::map<int, int> count;
        for (int n = 0; n < values; ++n) ++count[channel.receive().value()];
        counts.send(std::move(count));
      });
    }
    std::map<int, int> total;
    for (int i = 0; i < kEach; ++i) {
      const std::map<int, int> part = counts.receive().value();
      for (const auto& [value, count] : part) total[value] += count;
    }
    EXPECT_EQ(total.size(), static_cast<std::size_t>(values));
    for (const auto& [value, count] : total) EXPECT_EQ(count, kEach) << value;
  });
}

TEST_P(GoRuntimeChan, TestChan) {
  for (const std::size_t capacity : {0u, 1u, 2u, 3u, 7u, 19u}) {
    receivers_wait_for_senders(capacity);
    senders_wait_for_room(capacity);
    closing_ends_it(capacity);
    order_and_number(capacity);
  }
}

// What is buffered is not missed because somebody closes the channel meanwhile.
TEST_P(GoRuntimeChan, TestNonblockRecvRace) {
  run([this] {
    for (int i = 0; i < scaled(10'000); ++i) {
      Channel<int> channel(1);
      Channel<bool> ready;
      channel.send(1);
      go([&] {
        bool found = true;
        select(receive(channel, kNothing), otherwise([&] { found = false; }));
        ready.send(found);
      });
      channel.close();
      channel.receive();
      ASSERT_EQ(ready.receive(), true) << i;
    }
  });
}

// One channel is ready at any time, first this and then that one: a select sees it.
TEST_P(GoRuntimeChan, TestNonblockSelectRace) {
  run([this] {
    for (int i = 0; i < scaled(40'000); ++i) {
      const bool closes = i % 2 != 0;  // Go's TestNonblockSelectRace2
      Channel<int> first(1), second(closes ? 0 : 1);
      Channel<bool> ready(1);
      first.send(1);
      go([&] {
        bool found = true;
        select(receive(first, kNothing), receive(second, kNothing),
               otherwise([&] { found = false; }));
        ready.send(found);
      });
      if (closes)
        second.close();
      else
        second.send(1);
      select(receive(first, kNothing), otherwise(kNothing));
      ASSERT_EQ(ready.receive(), true) << i;
    }
  });
}

// Each sends and receives on the same channel at once: they meet each other, nobody meets himself.
TEST_P(GoRuntimeChan, TestSelfSelect) {
  for (const std::size_t capacity : {0u, 10u})
    run([&] {
      Channel<int> channel(capacity);
      WaitGroup group;
      group.add(2);
      for (int self = 0; self < 2; ++self)
        go([&, self] {
          const auto check = [&](std::optional<int> from) {
            EXPECT_TRUE(capacity != 0 || from != self) << "received its own";
          };
          for (int i = 0; i < loops(); ++i)
            if (self == 0 || i % 2 == 0)
              select(send(channel, self, kNothing), receive(channel, check));
            else
              select(receive(channel, check), send(channel, self, kNothing));
          group.done();
        });
      group.wait();
    });
}

// Four channels, each with one that only sends, one that only receives, and between them one select
// that sends on all and one that receives from all, so many values each. Nothing gets stuck.
TEST_P(GoRuntimeChan, TestSelectStress) {
  const int values = scaled(20'000);
  run([&] {
    std::array<Channel<int>, 4> channels{Channel<int>(0), Channel<int>(0), Channel<int>(2),
                                         Channel<int>(3)};
    WaitGroup group;
    group.add(2 * 4 + 2);
    for (Channel<int>& channel : channels) {
      go([&] {
        for (int i = 0; i < values; ++i) channel.send(0);
        group.done();
      });
      go([&] {
        for (int i = 0; i < values; ++i) channel.receive();
        group.done();
      });
    }
    const auto on_all = [&](auto select_of) {
      std::array<int, 4> done{};
      std::array<Channel<int>*, 4> open{};
      for (std::size_t i = 0; i < 4; ++i) open[i] = &channels[i];
      const auto count = [&](std::size_t i) {
        if (++done[i] == values) open[i] = nullptr;
      };
      for (int i = 0; i < 4 * values; ++i) select_of(open, count);
    };
    go([&] {
      on_all([](const auto& open, const auto& count) {
        select(send(open[3], 0, [&] { count(3); }), send(open[2], 0, [&] { count(2); }),
               send(open[0], 0, [&] { count(0); }), send(open[1], 0, [&] { count(1); }));
      });
      group.done();
    });
    go([&] {
      on_all([](const auto& open, const auto& count) {
        select(receive(open[0], [&](auto) { count(0); }), receive(open[1], [&](auto) { count(1); }),
               receive(open[2], [&](auto) { count(2); }),
               receive(open[3], [&](auto) { count(3); }));
      });
      group.done();
    });
    group.wait();
  });
}

// Of several arms that are ready each is as likely as the others; beside some that never are.
TEST_P(GoRuntimeChan, TestSelectFairness) {
  const int trials = threads() ? 2000 : 10'000;
  run([&] {
    const auto capacity = static_cast<std::size_t>(trials) + 1;
    Channel<char> first(capacity), second(capacity), never, nor_this, out, done;
    for (int i = 0; i <= trials; ++i) {
      first.send('1');
      second.send('2');
    }
    WaitGroup group;
    group.add();
    go([&] {
      for (bool more = true; more;) {
        char taken = 0;
        const auto take = [&](std::optional<char> value) { taken = *value; };
        select(receive(never, take), receive(nor_this, take), receive(first, take),
               receive(second, take));
        select(send(out, taken, kNothing), receive(done, [&](auto) { more = false; }));
      }
      group.done();
    });
    int firsts = 0;
    for (int i = 0; i < trials; ++i) firsts += out.receive() == '1';
    done.close();
    group.wait();
    // 4.89 standard deviations: one failure in a million.
    EXPECT_NEAR(firsts / double(trials), 0.5, 4.89 / (2 * std::sqrt(trials)));
  });
}

// Elements whose type is found out at run time, also when they are not sent.
TEST_P(GoRuntimeChan, TestChanSendInterface) {
  run([] {
    const auto held = std::make_shared<int>(1);
    Channel<std::any> channel(1);
    channel.send(held);
    select(send(channel, held, [] { ADD_FAILURE(); }), otherwise(kNothing));
    select(send(channel, held, [] { ADD_FAILURE(); }),
           send(channel, std::make_shared<int>(2), [] { ADD_FAILURE(); }), otherwise(kNothing));
    EXPECT_EQ(held.use_count(), 2);
    EXPECT_EQ(std::any_cast<std::shared_ptr<int>>(channel.receive().value()), held);
  });
}

// A select that could send a one or a nought sends both often.
TEST_P(GoRuntimeChan, TestPseudoRandomSend) {
  constexpr int kValues = 100;
  for (const std::size_t capacity : {0u, 100u})
    run([&] {
      Channel<int> channel(capacity);
      Mutex mutex;  // unlocked by another than the one that locks it
      int ones = 0;
      mutex.lock();
      go([&] {
        for (int i = 0; i < kValues; ++i) {
          yield();
          ones += channel.receive().value();
        }
        mutex.unlock();
      });
      for (int i = 0; i < kValues; ++i)
        select(send(channel, 1, kNothing), send(channel, 0, kNothing));
      const std::lock_guard lock(mutex);
      // Beyond it by chance: less than once in 10^15.
      EXPECT_GT(ones, kValues / 10);
      EXPECT_LT(ones, kValues - kValues / 10);
    });
}

// 23 that take from one channel what they put into another.
TEST_P(GoRuntimeChan, TestMultiConsumer) {
  constexpr std::size_t kWorkers = 23;
  constexpr std::array kNumbers{2, 3, 7, 11, 13, 17, 19, 23, 27, 31};
  const auto values = static_cast<std::size_t>(scaled(271'828));
  run([&] {
    Channel<int> questions(3 * kWorkers), answers(3 * kWorkers);
    WaitGroup workers;
    workers.add(kWorkers);
    for (std::size_t w = 0; w < kWorkers; ++w)
      go([&, w] {
        for (const int value : Receiver(questions)) {
          if (kNumbers[w % kNumbers.size()] == value) yield();  // mixes the order up
          answers.send(value);
        }
        workers.done();
      });
    std::int64_t expected = 0;
    go([&] {
      for (std::size_t i = 0; i < values; ++i) {
        expected += kNumbers[i % kNumbers.size()];
        questions.send(kNumbers[i % kNumbers.size()]);
      }
      questions.close();
      workers.wait();
      answers.close();
    });
    std::size_t count = 0;
    std::int64_t sum = 0;
    for (const int value : Receiver(answers)) {
      ++count;
      sum += value;
    }
    EXPECT_EQ(count, values);
    EXPECT_EQ(sum, expected);
  });
}

[[gnu::noinline]] int use_stack(int depth) {
  volatile char room[512];
  room[0] = static_cast<char>(depth);
  return depth == 0 ? room[0] : use_stack(depth - 1) + room[0];
}

// A sender whose stack was deep and is not any more.
TEST_P(GoRuntimeChan, TestShrinkStackDuringBlockedSend) {
  run([] {
    constexpr int kValues = 10;
    Channel<int> channel;
    Channel<int> done;
    go([&] {
      for (int i = 0; i < kValues; ++i) {
        channel.send(i);
        use_stack(20);
      }
      done.send(0);
    });
    for (int i = 0; i < kValues; ++i) {
      EXPECT_EQ(channel.receive(), i);
      yield();
    }
    done.receive();
  });
}

// One may be on a channel's queue more than once, and leaves it as often.
TEST_P(GoRuntimeChan, TestSelectDuplicateChannel) {
  run([this] {
    Channel<int> twice, other, told;
    go([&] {
      const auto wrong = [](auto) { ADD_FAILURE() << "the wrong arm"; };
      select(receive(twice, wrong), receive(twice, wrong), receive(other, kNothing));
      told.send(9);
    });
    await_parked(1, ParkReason::kSelect);
    go([&] { EXPECT_EQ(twice.receive(), 8); });
    await_parked(threads() ? 2 : 1, ParkReason::kReceive);
    other.send(7);
    told.receive();
    twice.send(8);  // it wakes the second, not the first once more
  });
}

// What an arm writes to is the waiting goroutine's own stack.
TEST_P(GoRuntimeChan, TestSelectStackAdjust) {
  run([this] {
    Channel<int*> silent, closing;
    Channel<int> done;
    for (const bool both : {false, true})
      go([&, both] {
        use_stack(20);
        int value = 42;
        int* where = &value;
        Channel<int*>* const none = nullptr;
        const auto write = [&](std::optional<int*> to) { where = *to; };
        select(receive(silent, write), receive(both ? &silent : none, write),
               receive(closing, kNothing), receive(both ? &closing : none, kNothing));
        EXPECT_EQ(where, &value);
        *where = 43;
        EXPECT_EQ(value, 43);
        done.send(0);
      });
    await_parked(2, ParkReason::kSelect);
    closing.close();
    done.receive();
    done.receive();
  });
}

BULKHEAD_EVERYWHERE(GoRuntimeChan);

}  // namespace
}  // namespace bulkhead::sched
