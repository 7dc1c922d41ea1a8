#include <bulkhead/sched/err_group.hpp>
#include <memory>
#include <stdexcept>
#include <string>

#include "everywhere.hpp"

namespace bulkhead::sched {
namespace {

using ErrGroupTest = EverywhereTest;
using ErrGroupDeathTest = SchedTest;

TEST_P(ErrGroupTest, WaitsForAllAndSeesWhatTheyDid) {
  std::vector<int> done(50, 0);
  run([&] {
    ErrGroup group;
    EXPECT_TRUE(group.wait().has_value());  // of none
    for (int& mark : done)
      group.go([&mark] {
        yield();
        mark = 1;
      });
    EXPECT_TRUE(group.wait().has_value());
    for (int mark : done) EXPECT_EQ(mark, 1);
  });
}

TEST_P(ErrGroupTest, TheFirstErrorInTimeIsReturned) {
  run([&] {
    ErrGroup group;
    group.set_limit(1);  // one after the other
    group.go([]() -> Result<void> { return {}; });
    group.go([]() -> Result<void> { return fail(Code::kNotFound, "early"); });
    group.go([]() -> Result<void> { return fail(Code::kIoError, "late"); });
    group.go([] { throw std::runtime_error("later"); });
    for (int i = 0; i < 2; ++i) {  // as often as asked
      const Result<void> result = group.wait();
      ASSERT_FALSE(result.has_value());
      EXPECT_EQ(result.error().code, Code::kNotFound);
      EXPECT_EQ(result.error().text, "early");
    }
  });
}

TEST_P(ErrGroupTest, AnExceptionIsRethrownAndTheOthersRunOn) {
  std::atomic<int> ended{0};
  run([&] {
    ErrGroup group;
    group.go([] { throw std::out_of_range("far out"); });
    for (int i = 0; i < 5; ++i)
      group.go([&] {
        for (int n = 0; n < 10; ++n) yield();
        ++ended;
      });
    try {
      static_cast<void>(group.wait());
      ADD_FAILURE() << "nothing was thrown";
    } catch (const std::out_of_range& error) {
      EXPECT_STREQ(error.what(), "far out");
      EXPECT_EQ(ended, 5);
    }
  });
}

TEST_P(ErrGroupTest, NoMoreRunThanTheLimit) {
  std::atomic<int> running{0}, most{0}, all{0};
  run([&] {
    ErrGroup group;
    group.set_limit(3);
    for (int i = 0; i < 100; ++i) {
      group.go([&] {
        const int now = ++running;
        int seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        yield();
        --running;
        ++all;
      });
    }
    EXPECT_TRUE(group.wait().has_value());
  });
  EXPECT_LE(most, 3);
  EXPECT_EQ(all, 100);
}

TEST_P(ErrGroupTest, TryGoFailsAtTheLimitOnly) {
  run([&] {
    ErrGroup group;
    std::atomic<bool> finish{false};
    const auto body = [&] { await([&] { return finish.load(); }); };
    group.set_limit(2);
    EXPECT_TRUE(group.try_go(body));
    EXPECT_TRUE(group.try_go(body));
    EXPECT_FALSE(group.try_go([] { FAIL() << "beyond the limit"; }));
    finish = true;
    EXPECT_TRUE(group.wait().has_value());
    group.set_limit(0);
    EXPECT_FALSE(group.try_go([] { FAIL() << "beyond the limit"; }));
    group.set_limit(-1);
    for (int i = 0; i < 10; ++i) EXPECT_TRUE(group.try_go([] {}));
    EXPECT_TRUE(group.wait().has_value());
  });
}

TEST_P(ErrGroupTest, TakesBodiesThatCanOnlyBeMoved) {
  run([&] {
    std::atomic<int> sum{0};
    ErrGroup group;
    for (int i = 1; i <= 4; ++i)
      group.go([&sum, value = std::make_unique<int>(i)] { sum += *value; });
    EXPECT_TRUE(group.wait().has_value());
    EXPECT_EQ(sum, 10);
  });
}

TEST_P(ErrGroupTest, MayBeDestroyedAsSoonAsWaitReturns) {
  run([&] {
    for (int round = 0; round < loops() / 2; ++round) {
      auto group = std::make_unique<ErrGroup>();
      group->set_limit(1);
      group->go([] {});
      group->go([] {});
      EXPECT_TRUE(group->wait().has_value());
      group.reset();
    }
  });
}

TEST_F(ErrGroupDeathTest, MisuseEndsTheProcess) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(run(1,
                   [] {
                     ErrGroup group;
                     group.go([] {});
                   }),
               "destroyed while 1 of its goroutines run");
  EXPECT_DEATH(run(1,
                   [] {
                     ErrGroup group;
                     group.go([] {});
                     group.go([] {});
                     group.set_limit(7);
                   }),
               "limit is changed while 2 of its goroutines run");
}

BULKHEAD_EVERYWHERE(ErrGroupTest);

}  // namespace
}  // namespace bulkhead::sched
