// The limit of restarts of a whole run, under a fake clock.
#include <csignal>
#include <deque>
#include <random>

#include "supervisor_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

class RestartsTest : public SupervisorTest {
 protected:
  void start(std::uint32_t workers, std::uint32_t most, base::Duration period) {
    SupervisorSettings settings;
    settings.workers = workers;
    settings.restarts = RestartLimit{most, period};
    make(settings);
    supervisor_->start(now_);
    actions();
  }
};

TEST_F(RestartsTest, TheWorkerWhoseRestartWouldExceedTheLimitIsGivenUpAndTheOthersStay) {
  start(2, 3, seconds(1));
  to_ready({1, 1});
  for (std::uint32_t incarnation = 1; incarnation <= 3; ++incarnation) {
    die({2, incarnation}, true);
    ASSERT_THAT(actions(), ElementsAre("launch 2." + std::to_string(incarnation + 1)));
  }
  die({2, 4}, true);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(given_up(),
            "gave up on worker 2 after 3 restarts in 1s (--restarts 3/1s): killed by signal 11 "
            "(SIGSEGV)");
  EXPECT_EQ(supervisor_->given_up().front().worker, 2u);
  EXPECT_FALSE(supervisor_->all_given_up());
  EXPECT_FALSE(supervisor_->all_exited());
  EXPECT_TRUE(supervisor_->all_started()) << "nobody waits for it";
  EXPECT_THAT(supervisor_->ready(), ElementsAre(WorkerKey{1, 1}));
  idle(seconds(10));
  EXPECT_THAT(actions(), IsEmpty()) << "for good";
}

TEST_F(RestartsTest, AllWorkersAreCountedTogether) {
  start(3, 2, seconds(1));
  die({1, 1}, true);
  die({2, 1}, true);
  EXPECT_THAT(actions(), ElementsAre("launch 1.2", "launch 2.2"));
  die({3, 1}, true);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(supervisor_->given_up().front().worker, 3u);
  die({1, 2}, true);
  die({2, 2}, true);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_TRUE(supervisor_->all_given_up());
  EXPECT_TRUE(supervisor_->all_exited());
}

TEST_F(RestartsTest, ARestartCountsForOnePeriodAndNoLonger) {
  for (const bool a_moment_early : {true, false}) {
    start(1, 2, seconds(10));
    die({1, 1}, true);  // at 0 s
    idle(seconds(4));
    die({1, 2}, true);  // at 4 s
    idle(seconds(6) - base::Duration(a_moment_early ? 1 : 0));
    actions();
    die({1, 3}, true);
    if (a_moment_early) {
      EXPECT_THAT(actions(), IsEmpty()) << "two within 10 s";
      EXPECT_TRUE(supervisor_->all_given_up());
      continue;
    }
    EXPECT_THAT(actions(), ElementsAre("launch 1.4")) << "at 10 s the first has gone";
    die({1, 4}, true);
    EXPECT_THAT(actions(), IsEmpty()) << "those at 4 s and at 10 s";
    EXPECT_TRUE(supervisor_->all_given_up());
  }
}

TEST_F(RestartsTest, NoPeriodEverSeesMoreThanTheLimitAndNoRestartWithinItIsRefused) {
  for (std::uint64_t seed = 1; seed <= 100; ++seed) {
    std::mt19937_64 random(seed);
    const auto most = static_cast<std::uint32_t>(1 + random() % 5);
    const base::Duration period = milliseconds(1 + random() % 1000);
    start(1, most, period);
    std::deque<base::TimePoint> restarts;
    for (std::uint32_t incarnation = 1; incarnation < 200; ++incarnation) {
      idle(base::Duration(static_cast<std::int64_t>(random() % 400'000'000)));
      actions();
      die({1, incarnation}, true);
      while (!restarts.empty() && now_ - restarts.front() >= period) restarts.pop_front();
      if (restarts.size() == most) {
        ASSERT_THAT(actions(), IsEmpty()) << "seed " << seed;
        ASSERT_TRUE(supervisor_->all_given_up()) << "seed " << seed;
        break;
      }
      restarts.push_back(now_);
      ASSERT_EQ(actions().size(), 1u) << "seed " << seed;
    }
  }
}

TEST_F(RestartsTest, NoneAtAllMeansThatTheFirstDeathIsTheLast) {
  start(1, 0, seconds(1));
  die({1, 1}, true);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(given_up(),
            "gave up on worker 1 without a restart (--restarts 0/1s): killed by signal 11 "
            "(SIGSEGV)");
  EXPECT_TRUE(supervisor_->all_exited());
}

TEST_F(RestartsTest, OneThatWaitsOutItsBackoffIsJudgedWhenItWouldStart) {
  start(2, 3, seconds(1));
  die({1, 1});
  die({1, 2});  // waits up to 50 ms
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
  die({2, 1}, true);
  die({2, 2}, true);
  EXPECT_THAT(actions(), ElementsAre("launch 2.2", "launch 2.3"));
  EXPECT_TRUE(supervisor_->given_up().empty());
  idle(milliseconds(50));
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(given_up(),
            "gave up on worker 1 after 3 restarts in 1s (--restarts 3/1s): killed by signal 11 "
            "(SIGSEGV)");
  EXPECT_FALSE(supervisor_->all_exited()) << "worker 2 lives";
}

TEST_F(RestartsTest, TheFirstLaunchesAreNoRestarts) {
  start(8, 0, seconds(1));
  for (std::uint32_t worker = 1; worker <= 8; ++worker) to_ready({worker, 1});
  EXPECT_EQ(supervisor_->ready().size(), 8u);
  EXPECT_TRUE(supervisor_->given_up().empty());
}

}  // namespace
}  // namespace bulkhead::coordinator
