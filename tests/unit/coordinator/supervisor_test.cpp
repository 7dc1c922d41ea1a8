// A worker's life under a fake clock: deadlines and restarts.
#include <csignal>

#include "supervisor_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(SupervisorTest, StartLaunchesEveryWorkerOnce) {
  make(3);
  supervisor_->start(now_);
  EXPECT_THAT(actions(), ElementsAre("launch 1.1", "launch 2.1", "launch 3.1"));
  EXPECT_FALSE(supervisor_->all_started());
  EXPECT_FALSE(supervisor_->all_exited());
  EXPECT_EQ(supervisor_->state({2, 1}), WorkerState::kLaunching);
  EXPECT_EQ(supervisor_->state({2, 2}), WorkerState::kExited) << "not the current incarnation";
}

TEST_F(SupervisorTest, LivesFromLaunchToGoodbye) {
  make();
  supervisor_->start(now_);
  actions();
  supervisor_->launched({1, 1}, now_);
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kHandshaking);
  EXPECT_TRUE(supervisor_->hello({1, 1}, now_));
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kReady);
  EXPECT_TRUE(supervisor_->all_started());
  EXPECT_FALSE(supervisor_->next_deadline());
  supervisor_->drain("", now_);
  EXPECT_THAT(actions(), ElementsAre("drain 1.1"));
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kDraining);
  supervisor_->goodbye({1, 1});
  const WorkerEnd end = supervisor_->exited({1, 1}, 0, {}, true, now_);
  EXPECT_EQ(end.verdict, "finished");
  EXPECT_FALSE(end.is_crash);
  EXPECT_EQ(end.state, WorkerState::kDraining);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_TRUE(supervisor_->all_exited());
}

TEST_F(SupervisorTest, ALaunchThatTakesTooLongIsKilledAlsoWhenTheProcessAppearsLater) {
  make();
  supervisor_->start(now_);
  actions();
  idle(seconds(20) - milliseconds(1));
  EXPECT_THAT(actions(), IsEmpty());
  idle(milliseconds(1));
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  idle(seconds(60));
  EXPECT_THAT(actions(), IsEmpty()) << "once is enough while there is no process";
  supervisor_->launched({1, 1}, now_);
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  idle(seconds(60));
  const WorkerEnd end = killed({1, 1});
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_EQ(end.reason, "it was not launched in time");
  EXPECT_FALSE(end.is_crash);
}

TEST_F(SupervisorTest, AHandshakeThatTakesTooLongIsKilled) {
  make();
  supervisor_->start(now_);
  idle(seconds(19));
  to_handshaking({1, 1});
  actions();
  idle(seconds(20) - milliseconds(1));
  EXPECT_THAT(actions(), IsEmpty()) << "the launch's deadline is over";
  idle(milliseconds(1));
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  EXPECT_FALSE(supervisor_->hello({1, 1}, now_)) << "too late";
  const WorkerEnd end = killed({1, 1});
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_EQ(end.reason, "it did not shake hands in time");
  EXPECT_EQ(end.state, WorkerState::kHandshaking);
}

TEST_F(SupervisorTest, DrainingIsALadderOfDrainTermAndKill) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  actions();
  supervisor_->drain("interrupted", now_);
  supervisor_->tick(now_);
  EXPECT_THAT(actions(), ElementsAre("drain 1.1"));
  idle(milliseconds(799));
  EXPECT_THAT(actions(), IsEmpty());
  idle(milliseconds(1));
  EXPECT_THAT(actions(), ElementsAre("term 1.1"));
  idle(milliseconds(299));
  EXPECT_THAT(actions(), IsEmpty());
  idle(milliseconds(1));
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  idle(seconds(100));
  EXPECT_THAT(actions(), IsEmpty());
  const WorkerEnd end = killed({1, 1});
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_EQ(end.reason, "it did not drain in time");
  EXPECT_TRUE(supervisor_->all_exited());
}

TEST_F(SupervisorTest, DeathBySigtermWhileDrainingIsOursAndNoCrash) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  supervisor_->drain("", now_);
  idle(milliseconds(800));
  const WorkerEnd end = supervisor_->exited({1, 1}, {}, SIGTERM, true, now_);
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_EQ(end.reason, "it did not drain in time");
  EXPECT_FALSE(end.is_crash);
}

TEST_F(SupervisorTest, AnIdleCoordinatorIsNotALaggingOne) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  supervisor_->tick(now_);
  actions();
  pause(seconds(30));  // in its wait: no deadline, no event
  supervisor_->drain("interrupted", now_);
  supervisor_->tick(now_);
  idle(milliseconds(800));
  EXPECT_THAT(actions(), ElementsAre("drain 1.1", "term 1.1"))
      << "the wait before the drain is not part of it";
}

TEST_F(SupervisorTest, APausedCoordinatorCondemnsNobody) {
  make(3);
  supervisor_->start(now_);
  to_handshaking({1, 1});
  to_ready({2, 1});
  supervisor_->tick(now_);
  actions();
  pause(std::chrono::hours(8));
  supervisor_->tick(now_);
  EXPECT_THAT(actions(), IsEmpty());
  idle(seconds(20) - milliseconds(1));
  EXPECT_THAT(actions(), IsEmpty()) << "they have all the time that they had before";
  idle(milliseconds(1));
  EXPECT_THAT(actions(), ElementsAre("kill 1.1", "kill 3.1"));
}

TEST_F(SupervisorTest, APauseWhileDrainingTerminatesNobody) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  supervisor_->drain("", now_);
  supervisor_->tick(now_);
  actions();
  pause(seconds(5));
  supervisor_->tick(now_);
  EXPECT_THAT(actions(), IsEmpty());
  supervisor_->goodbye({1, 1});
  EXPECT_EQ(supervisor_->exited({1, 1}, 0, {}, true, now_).verdict, "finished");
}

TEST_F(SupervisorTest, ASecondHelloIsRefused) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  EXPECT_FALSE(supervisor_->hello({1, 1}, now_));
  EXPECT_FALSE(supervisor_->hello({1, 2}, now_)) << "not launched yet";
  EXPECT_FALSE(supervisor_->hello({7, 1}, now_)) << "never known";
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kReady);
  supervisor_->drain("", now_);
  EXPECT_FALSE(supervisor_->hello({1, 1}, now_));
  die({1, 1});
  EXPECT_FALSE(supervisor_->hello({1, 1}, now_)) << "dead";
}

TEST_F(SupervisorTest, AHelloMayOvertakeTheNewsOfTheLaunch) {
  make();
  supervisor_->start(now_);
  EXPECT_TRUE(supervisor_->hello({1, 1}, now_));
  supervisor_->launched({1, 1}, now_);
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kReady);
  EXPECT_FALSE(supervisor_->next_deadline());
}

TEST_F(SupervisorTest, TheFirstRestartIsImmediate) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  actions();
  const WorkerEnd end = die({1, 1});
  EXPECT_EQ(end.verdict, "signalled");
  EXPECT_EQ(end.reason, "killed by signal 11 (SIGSEGV)");
  EXPECT_TRUE(end.is_crash);
  EXPECT_EQ(end.state, WorkerState::kReady);
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
  EXPECT_FALSE(supervisor_->is_current({1, 1}));
  EXPECT_TRUE(supervisor_->is_current({1, 2}));
}

TEST_F(SupervisorTest, BarrenDeathsBackOffWithinTheirBoundsAndThenGiveUp) {
  std::set<std::int64_t> delays;
  for (std::uint64_t seed = 1; seed <= 200; ++seed) {
    SupervisorSettings settings;
    settings.seed = seed;
    make(settings);
    supervisor_->start(now_);
    actions();
    die({1, 1});
    ASSERT_THAT(actions(), ElementsAre("launch 1.2"));
    for (const auto& [incarnation, bound] :
         std::vector<std::pair<std::uint32_t, int>>{{2, 50}, {3, 100}, {4, 200}}) {
      die({1, incarnation});
      ASSERT_THAT(actions(), IsEmpty());
      ASSERT_FALSE(supervisor_->all_exited()) << "it waits for a restart";
      ASSERT_FALSE(supervisor_->all_started());
      const auto at = supervisor_->next_deadline();
      ASSERT_TRUE(at);
      ASSERT_GT(*at, now_);
      ASSERT_LE(*at, now_ + milliseconds(bound));
      if (bound == 50) delays.insert((*at - now_).count());
      now_ = *at - base::Duration(1);
      supervisor_->tick(now_);
      ASSERT_THAT(actions(), IsEmpty());
      now_ += base::Duration(1);
      supervisor_->tick(now_);
      ASSERT_THAT(actions(), ElementsAre("launch 1." + std::to_string(incarnation + 1)));
    }
    die({1, 5});
    ASSERT_THAT(actions(), IsEmpty());
    ASSERT_FALSE(supervisor_->next_deadline());
    ASSERT_TRUE(supervisor_->all_given_up());
    ASSERT_TRUE(supervisor_->all_started()) << "nobody is waited for any more";
    ASSERT_TRUE(supervisor_->all_exited());
    ASSERT_EQ(given_up(), "gave up on worker 1 after 5 starts: killed by signal 11 (SIGSEGV)");
  }
  EXPECT_GT(delays.size(), 150u) << "jitter: workers that died together come back apart";
}

TEST_F(SupervisorTest, TheBackoffHasACap) {
  SupervisorSettings settings;
  settings.barren_limit = 100;
  make(settings);
  supervisor_->start(now_);
  base::Duration longest{0};
  for (std::uint32_t incarnation = 1; incarnation < 100; ++incarnation) {
    die({1, incarnation});
    const auto at = supervisor_->next_deadline();
    ASSERT_TRUE(at);
    if (supervisor_->state({1, incarnation}) == WorkerState::kExited && incarnation > 1) {
      ASSERT_GT(*at, now_) << incarnation;
      ASSERT_LE(*at, now_ + seconds(5)) << incarnation;
      longest = std::max(longest, *at - now_);
    }
    now_ = *at;
    if (incarnation > 1) supervisor_->tick(now_);
  }
  EXPECT_GT(longest, seconds(4));
}

TEST_F(SupervisorTest, FruitfulDeathsNeverGiveUp) {
  make();
  supervisor_->start(now_);
  actions();
  for (std::uint32_t incarnation = 1; incarnation <= 1000; ++incarnation) {
    die({1, incarnation}, true);
    ASSERT_THAT(actions(), ElementsAre("launch 1." + std::to_string(incarnation + 1)));
  }
  EXPECT_FALSE(supervisor_->all_given_up());
}

TEST_F(SupervisorTest, OneFruitfulLifeClearsTheCount) {
  make();
  supervisor_->start(now_);
  std::uint32_t incarnation = 1;
  for (int round = 0; round < 10; ++round) {
    for (int barren = 0; barren < 4; ++barren) {
      die({1, incarnation++});
      idle(seconds(1));
      actions();
      ASSERT_EQ(supervisor_->state({1, incarnation}), WorkerState::kLaunching);
    }
    die({1, incarnation++}, true);
    ASSERT_THAT(actions(), ElementsAre("launch 1." + std::to_string(incarnation)));
  }
}

TEST_F(SupervisorTest, WorkersAreCountedApart) {
  make(2);
  supervisor_->start(now_);
  for (std::uint32_t incarnation = 1; incarnation <= 5; ++incarnation) {
    die({1, incarnation});
    idle(seconds(1));
  }
  to_ready({2, 1});
  EXPECT_TRUE(supervisor_->all_started());
  EXPECT_FALSE(supervisor_->all_given_up());
  EXPECT_FALSE(supervisor_->all_exited());
  EXPECT_THAT(supervisor_->ready(), ElementsAre(WorkerKey{2, 1}));
}

TEST_F(SupervisorTest, ALaunchLostWithItsLauncherIsTriedAgainAsANewIncarnation) {
  make();
  supervisor_->start(now_);
  actions();
  const WorkerEnd end = supervisor_->launch_lost({1, 1}, now_);
  EXPECT_EQ(end.verdict, "not launched");
  EXPECT_FALSE(end.is_crash);
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
  // It may have shaken hands before its launcher could tell of it.
  EXPECT_TRUE(supervisor_->hello({1, 2}, now_));
  EXPECT_EQ(supervisor_->launch_lost({1, 2}, now_).state, WorkerState::kReady);
}

TEST_F(SupervisorTest, ALaunchThatFailsGivesTheWorkerUpAtOnce) {
  make(2);
  supervisor_->start(now_);
  actions();
  const WorkerEnd end = supervisor_->launch_failed({1, 1}, "/no/such: not found", now_);
  EXPECT_EQ(end.verdict, "not launched");
  EXPECT_EQ(end.reason, "/no/such: not found");
  EXPECT_FALSE(end.is_crash);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(given_up(), "gave up on worker 1 after 1 starts: /no/such: not found");
  EXPECT_FALSE(supervisor_->all_given_up());
  supervisor_->launch_failed({2, 1}, "/no/such: not found", now_);
  EXPECT_TRUE(supervisor_->all_given_up());
  EXPECT_TRUE(supervisor_->all_exited());
}

}  // namespace
}  // namespace bulkhead::coordinator
