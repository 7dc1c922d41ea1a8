// What Go's tests of select assert (test/chan/select*, doubleselect, fixedbugs), each under its
// name there, in our own words.
#include <malloc.h>

#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <random>
#include <stdexcept>

#include "tests/unit/sched/everywhere.hpp"

#if defined(BULKHEAD_ASAN) || defined(BULKHEAD_TSAN)
extern "C" std::size_t __sanitizer_get_current_allocated_bytes();  // gcc has no header for it
#endif

namespace bulkhead::sched {
namespace {

using GoSelect = EverywhereTest;

// select: an arm is switched off by making its channel null; what it would send is made all the
// same, for each select anew.
TEST_P(GoSelect, Select) {
  run([] {
    int made = 0;
    unsigned shift = 0;
    const auto value = [&] {
      ++made;
      return 1u << shift;
    };
    const auto send_one_to_each = [&](Channel<unsigned>* a, Channel<unsigned>* b) {
      int sent = 0;
      const auto count = [&sent](Channel<unsigned>*& channel) {
        ++sent;
        channel = nullptr;
      };
      for (bool more = true; more; ++shift)
        select(send(a, value(), [&] { count(a); }), send(b, value(), [&] { count(b); }),
               otherwise([&] { more = false; }));
      return sent;
    };
    Channel<unsigned> a(1), b(1);
    EXPECT_EQ(send_one_to_each(&a, &b), 2);
    EXPECT_EQ(a.receive().value() | b.receive().value(), 3u);
    EXPECT_EQ(send_one_to_each(&a, nullptr), 1);
    EXPECT_EQ(made, 2 * 3 + 2 * 2);
  });
}

std::size_t allocated_bytes() {
#if defined(BULKHEAD_ASAN) || defined(BULKHEAD_TSAN)
  return __sanitizer_get_current_allocated_bytes();
#else
  const struct mallinfo2 info = mallinfo2();
  return info.uordblks + info.hblkhd;
#endif
}

// select2: selects leave no garbage behind.
TEST_P(GoSelect, Select2) {
  const int values = threads() ? 5000 : kSanitized ? 10'000 : 100'000;
  run([&] {
    Channel<int> channel, never;
    const auto pass_on = [&] {
      go([&] {
        for (int i = 0; i < values; ++i) channel.send(1);
      });
      for (int i = 0; i < values; ++i)
        select(receive(channel, kNothing),
               receive(never, [](std::optional<int>) { ADD_FAILURE() << "of a silent channel"; }));
    };
    pass_on();
    const std::size_t before = allocated_bytes();
    pass_on();
    EXPECT_LT(allocated_bytes(), before + 110'000);
  });
}

// select4: of an arm that does not happen the handler is not called, though it comes first.
TEST_P(GoSelect, Select4) {
  run([] {
    const auto nowhere = []() -> int* {
      ADD_FAILURE() << "called";
      return nullptr;
    };
    Channel<int> ready(1), silent;
    ready.send(42);
    int got = 0;
    select(receive(silent, [&](std::optional<int> value) { *nowhere() = *value; }),
           receive(ready, [&](std::optional<int> value) { got = *value; }));
    EXPECT_EQ(got, 42);
  });
}

// select5: each expression of an arm is evaluated once, before any arm happens, also when its
// channel is null and when another arm happens. Go does it in source order. The arms of ours are
// arguments of a call, which C++ evaluates in any order: where the order matters, an arm gets a
// name first.
TEST_P(GoSelect, Select5) {
  run([] {
    std::minstd_rand random(1);
    for (int round = 0; round < 200; ++round) {
      std::array<Channel<int>, 2> channels{Channel<int>(1), Channel<int>(1)};
      channels[0].send(0);
      std::array<Channel<int>*, 4> of{};
      for (Channel<int>*& one : of) {
        const std::size_t which = random() % 3;
        one = which < channels.size() ? &channels[which] : nullptr;
      }
      std::vector<std::size_t> evaluated;
      const auto expression = [&]<class T>(std::size_t number, T value) {
        evaluated.push_back(number);
        return value;
      };
      int happened = 0;
      const auto happen = [&](auto&&...) {
        ++happened;
        EXPECT_EQ(evaluated.size(), 6u) << "something is evaluated too late";
      };
      if (round % 2 == 0) {
        select(receive(expression(0, of[0]), happen),
               send(expression(1, of[1]), expression(2, 1), happen),
               receive(expression(3, of[2]), happen),
               send(expression(4, of[3]), expression(5, 1), happen), otherwise(happen));
        std::sort(evaluated.begin(), evaluated.end());
      } else {
        auto first = receive(expression(0, of[0]), happen);
        Channel<int>* const to = expression(1, of[1]);
        auto second = send(to, expression(2, 1), happen);
        auto third = receive(expression(3, of[2]), happen);
        Channel<int>* const last = expression(4, of[3]);
        auto fourth = send(last, expression(5, 1), happen);
        select(std::move(first), std::move(second), std::move(third), std::move(fourth),
               otherwise(happen));
      }
      EXPECT_EQ(evaluated, (std::vector<std::size_t>{0, 1, 2, 3, 4, 5}));
      EXPECT_EQ(happened, 1);
    }
  });
}

// fixedbugs/issue4313: what an arm with a name sends is what it was when the arm was made.
TEST_P(GoSelect, Issue4313) {
  run([] {
    Channel<int> channel(1), silent;
    int x = 0;
    auto first = send(channel, x, kNothing);
    x = 42;
    select(std::move(first), receive(silent, kNothing));
    EXPECT_EQ(channel.receive(), 0);
  });
}

// fixedbugs/issue8336: when an expression fails nothing happens, and nobody is left waiting.
TEST_P(GoSelect, Issue8336) {
  run([] {
    Channel<int> channel;
    const auto failing = [](bool fails) -> Channel<int>* {
      if (fails) throw std::runtime_error("no channel");
      return nullptr;
    };
    const auto attempt = [&] {
      auto first = receive(channel, kNothing);
      auto second = receive(failing(true), kNothing);
      auto third = receive(failing((ADD_FAILURE() << "evaluated", false)), kNothing);
      select(std::move(first), std::move(second), std::move(third));
    };
    EXPECT_THROW(attempt(), std::runtime_error);
    EXPECT_THROW(select(receive(channel, kNothing), receive(failing(true), kNothing)),
                 std::runtime_error);
    EXPECT_FALSE(channel.try_send(1));
  });
}

// select6 (issue 2075): a select that was last in a queue leaves it whole when another arm happens.
TEST_P(GoSelect, Select6) {
  run([this] {
    Channel<bool> contended, other, told;
    go([&] { contended.receive(); });
    await_parked(1, ParkReason::kReceive);
    go([&] {
      select(receive(contended, [](std::optional<bool>) { ADD_FAILURE() << "the wrong arm"; }),
             receive(other, [&](std::optional<bool>) { told.send(true); }));
      contended.receive();
    });
    await_parked(threads() ? 2 : 1, threads() ? ParkReason::kReceive : ParkReason::kSelect);
    go([&] { other.send(true); });
    told.receive();
    contended.send(true);
    contended.send(true);
  });
}

// select7: what is received may be dropped, whoever the two are that meet.
TEST_P(GoSelect, Select7) {
  using Move = void (*)(Channel<int>&);
  constexpr std::array<Move, 3> kReceives{
      [](Channel<int>& from) { from.receive(); },
      [](Channel<int>& from) { select(receive(from, kNothing)); },
      [](Channel<int>& from) {
        Channel<int> other;
        select(receive(from, kNothing), receive(other, kNothing));
      }};
  constexpr std::array<Move, 3> kSends{[](Channel<int>& to) { to.send(1); },
                                       [](Channel<int>& to) { select(send(to, 1, kNothing)); },
                                       [](Channel<int>& to) {
                                         Channel<int> other;
                                         select(send(to, 1, kNothing), send(other, 1, kNothing));
                                       }};
  run([&] {
    for (const std::size_t capacity : {0u, 1u})
      for (const Move take : kReceives)
        for (const Move give : kSends)
          for (const bool first : {false, true}) {
            Channel<int> channel(capacity);
            WaitGroup taken;
            taken.add();
            go([&] {
              take(channel);
              taken.done();
            });
            if (first) yield();
            give(channel);
            taken.wait();
          }
  });
}

// select8: an arm may be left early. In C++ that is a return, or an exception: it leaves the
// select, and no waiter of it stays anywhere.
TEST_P(GoSelect, Select8) {
  run([] {
    const auto leave = [](auto&&...) { throw std::runtime_error("left"); };
    Channel<int> silent, ready(1), fed;
    EXPECT_THROW(select(otherwise(leave)), std::runtime_error);
    ready.send(1);
    EXPECT_THROW(select(receive(ready, leave)), std::runtime_error);
    ready.send(1);
    EXPECT_THROW(select(receive(ready, leave), otherwise(kNothing)), std::runtime_error);
    EXPECT_THROW(select(send(ready, 2, leave), receive(silent, kNothing), otherwise(kNothing)),
                 std::runtime_error);
    EXPECT_EQ(ready.receive(), 2) << "it was sent all the same";

    go([&] { fed.send(3); });  // also one that had to wait
    EXPECT_THROW(select(receive(fed, leave), receive(silent, kNothing)), std::runtime_error);
    EXPECT_FALSE(fed.try_send(4));
    EXPECT_FALSE(silent.try_send(4));
    EXPECT_THROW(select(receive(silent, kNothing), timeout(base::Duration(1000), leave)),
                 std::runtime_error);
    EXPECT_FALSE(silent.try_send(4));
  });
}

// doubleselect: one select must not do two of its arms.
TEST_P(GoSelect, Doubleselect) {
  const int values = threads() ? 5000 : kSanitized ? 10'000 : 100'000;
  run([&] {
    std::array<Channel<int>, 4> channels;
    Channel<int> merged;
    WaitGroup movers;
    movers.add(4);
    go([&] {
      for (int i = 0; i < values; ++i)
        select(send(channels[0], i, kNothing), send(channels[1], i, kNothing),
               send(channels[2], i, kNothing), send(channels[3], i, kNothing));
      for (auto& channel : channels) channel.close();
    });
    for (auto& channel : channels)
      go([&] {
        while (const auto value = channel.receive()) merged.send(*value);
        movers.done();
      });
    go([&] {
      movers.wait();
      merged.close();
    });
    std::vector<bool> seen(static_cast<std::size_t>(values));
    int count = 0;
    while (const auto value = merged.receive()) {
      EXPECT_FALSE(seen[static_cast<std::size_t>(*value)]) << *value << " twice";
      seen[static_cast<std::size_t>(*value)] = true;
      ++count;
    }
    EXPECT_EQ(count, values);
  });
}

// Not only one that does many selects: of 200 that do one each, some take the other arm.
TEST_P(GoSelect, TheFirstOfEachIsRandom) {
  constexpr int kCount = 200;
  std::atomic<int> firsts{0};
  run([&] {
    Channel<int> first(kCount), second(kCount);
    WaitGroup group;
    group.add(kCount);
    for (int i = 0; i < kCount; ++i) {
      first.send(i);
      second.send(i);
    }
    for (int i = 0; i < kCount; ++i)
      go([&] {
        select(receive(first, [&](auto) { ++firsts; }), receive(second, kNothing));
        group.done();
      });
    group.wait();
  });
  EXPECT_GT(firsts, kCount / 10);
  EXPECT_LT(firsts, kCount - kCount / 10);
}

BULKHEAD_EVERYWHERE(GoSelect);

}  // namespace
}  // namespace bulkhead::sched
