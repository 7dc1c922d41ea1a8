#include <bulkhead/sched/once.hpp>
#include <deque>
#include <memory>
#include <optional>
#include <stdexcept>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using OnceTest = EverywhereTest;
using OnceDeathTest = SchedTest;

TEST_P(OnceTest, RunsASingleTimeAndAllSeeWhatItDid) {
  Once once;
  int value = 0;
  run([&] {
    for (int i = 0; i < 20; ++i)
      go([&] {
        once.call([&] {
          yield();
          ++value;
        });
        EXPECT_EQ(value, 1);
      });
  });
  EXPECT_EQ(value, 1);
}

// Also when the first ends just as the others look.
TEST_P(OnceTest, RunsASingleTimeHoweverShort) {
  constexpr int kCallers = 2;
  const int rounds = 5 * loops();
  std::deque<Once> many(static_cast<std::size_t>(rounds));
  std::vector<int> calls(many.size(), 0);
  std::atomic<int> arrived{0};
  run([&] {
    for (int i = 0; i < kCallers; ++i)
      go([&] {
        for (std::size_t round = 0; round < many.size(); ++round) {
          // Together, where there are processors for it.
          const int all = kCallers * (static_cast<int>(round) + 1);
          ++arrived;
          for (int spins = 0; arrived < all; ++spins)
            if (spins > 1000) yield();
          many[round].call([&] { ++calls[round]; });
          EXPECT_EQ(calls[round], 1);
        }
      });
  });
  EXPECT_EQ(calls, std::vector<int>(calls.size(), 1));
}

TEST_P(OnceTest, OthersWaitUntilTheFirstHasEnded) {
  Once once;
  std::atomic<bool> began{false}, finish{false};
  std::atomic<int> returned{0};
  run([&] {
    go([&] {
      once.call([&] {
        began = true;
        await([&] { return finish.load(); });
      });
    });
    await([&] { return began.load(); });
    for (int i = 0; i < 3; ++i)
      go([&] {
        once.call([] { FAIL() << "a second time"; });
        EXPECT_TRUE(finish);
        ++returned;
      });
    await_parked(3, ParkReason::kOnce);
    EXPECT_EQ(returned, 0);
    finish = true;
  });
  EXPECT_EQ(returned, 3);
}

TEST_P(OnceTest, AnExceptionGoesToTheFirstAndCountsAsDone) {
  Once once;
  std::atomic<bool> began{false}, fail{false};
  std::atomic<int> caught{0}, returned{0};
  run([&] {
    go([&] {
      try {
        once.call([&] {
          began = true;
          await([&] { return fail.load(); });
          throw std::runtime_error("first");
        });
      } catch (const std::runtime_error&) {
        ++caught;
      }
    });
    await([&] { return began.load(); });
    for (int i = 0; i < 3; ++i)
      go([&] {
        once.call([] { FAIL() << "a second time"; });
        ++returned;
      });
    await_parked(3, ParkReason::kOnce);
    fail = true;
  });
  EXPECT_EQ(caught, 1);
  EXPECT_EQ(returned, 3);
  once.call([] { FAIL() << "a second time"; });
}

TEST_P(OnceTest, MayCallAnotherOnceFromWithin) {
  Once outer, inner;
  int calls = 0;
  run([&] { outer.call([&] { inner.call([&] { ++calls; }); }); });
  EXPECT_EQ(calls, 1);
}

TEST_P(OnceTest, MayBeDestroyedAsSoonAsCallReturns) {
  run([&] {
    for (int round = 0; round < loops() / 2; ++round) {
      auto once = std::make_unique<Once>();
      std::atomic<bool> began{false};
      go([&began, &borrowed = *once] { borrowed.call([&] { began = true; }); });
      await([&] { return began.load(); });
      once->call([] {});
      once.reset();
    }
  });
}

TEST_F(OnceDeathTest, CallFromWithinItsOwnFunctionEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto recurse = [] {
    Once once, other;
    once.call([&] { other.call([&] { once.call([] {}); }); });
  };
  EXPECT_DEATH(recurse(), "from within its own function");
  EXPECT_DEATH(run(2, recurse), "from within its own function");
}

TEST_F(OnceDeathTest, DestructionWhileItRunsEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(
      {
        std::optional<Once> once(std::in_place);
        once->call([&] { once.reset(); });
      },
      "destroyed while its function runs");
}

BULKHEAD_EVERYWHERE(OnceTest);

}  // namespace
}  // namespace bulkhead::sched
