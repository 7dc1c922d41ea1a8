// Hung or busy, told by what the crash pages say, under a fake clock.
#include "supervise/stall_watch.hpp"

#include <gtest/gtest.h>

namespace bulkhead::coordinator {
namespace {

using std::chrono::milliseconds;

class StallWatchTest : public testing::Test {
 protected:
  static constexpr WorkerKey k1{1, 1};

  // Looks once a period for `time`, at the same page; the job that was found to hang.
  std::optional<std::uint64_t> watch(WorkerKey key, const std::vector<wire::SlotProgress>& slots,
                                     base::Duration time) {
    std::optional<std::uint64_t> hung;
    for (const base::TimePoint end = now_ + time; now_ < end && !hung; now_ += watch_.period()) {
      watch_.begin_round(now_);
      hung = watch_.look(key, slots, now_);
    }
    return hung;
  }

  StallWatch watch_{milliseconds(1000)};
  base::TimePoint now_{std::chrono::hours(1)};
};

TEST_F(StallWatchTest, AJobThatStaysWithoutAStepHasHungAfterTheTimeAndNoSooner) {
  EXPECT_FALSE(watch(k1, {{0, 20, 7}}, milliseconds(999)));
  EXPECT_EQ(watch(k1, {{0, 20, 7}}, milliseconds(500)), 20u);
}

TEST_F(StallWatchTest, AStepAnotherJobOrAnEmptySlotStartsAnew) {
  for (std::uint64_t step = 0; step < 10; ++step) {
    EXPECT_FALSE(watch(k1, {{0, 20, step}}, milliseconds(900)));
  }
  EXPECT_FALSE(watch(k1, {{0, 21, 9}}, milliseconds(900)));
  EXPECT_FALSE(watch(k1, {}, milliseconds(900)));
  EXPECT_FALSE(watch(k1, {{0, 21, 9}}, milliseconds(900)));
}

TEST_F(StallWatchTest, OneHungJobOfSeveralProcessorsIsFoundWhileTheOthersGoOn) {
  std::optional<std::uint64_t> hung;
  for (std::uint64_t step = 0; step < 100 && !hung; ++step) {
    hung = watch(k1, {{0, step, step}, {1, 500, 3}, {2, step + 1, step}}, watch_.period());
  }
  EXPECT_EQ(hung, 500u);
}

TEST_F(StallWatchTest, WorkersAndTheirIncarnationsAreWatchedApart) {
  EXPECT_FALSE(watch(k1, {{0, 20, 7}}, milliseconds(900)));
  EXPECT_FALSE(watch({1, 2}, {{0, 20, 7}}, milliseconds(900)));
  EXPECT_FALSE(watch({2, 1}, {{0, 20, 7}}, milliseconds(900)));
  watch_.forget(k1);
  EXPECT_FALSE(watch(k1, {{0, 20, 7}}, milliseconds(900)));
}

TEST_F(StallWatchTest, APausedCoordinatorFindsNobodyHung) {
  EXPECT_FALSE(watch(k1, {{0, 20, 7}}, milliseconds(600)));
  now_ += std::chrono::hours(1);
  EXPECT_FALSE(watch(k1, {{0, 20, 7}}, watch_.period()));
  EXPECT_EQ(watch(k1, {{0, 20, 7}}, milliseconds(2000)), 20u);
}

}  // namespace
}  // namespace bulkhead::coordinator
