// A worker's life under a fake clock: deadlines, restarts, the shutdown ladder, verdicts.
#include "supervise/supervisor.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <csignal>
#include <set>

namespace bulkhead::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

std::string describe(const SupervisorAction& action) {
  const auto text = [](const char* verb, WorkerKey key) {
    return std::string(verb) + " " + std::to_string(key.worker) + "." +
           std::to_string(key.incarnation);
  };
  if (const auto* launch = std::get_if<LaunchWorker>(&action)) return text("launch", launch->key);
  if (const auto* drain = std::get_if<DrainWorker>(&action)) return text("drain", drain->key);
  if (const auto* term = std::get_if<TerminateWorker>(&action)) return text("term", term->key);
  return text("kill", std::get<KillWorker>(action).key);
}

class SupervisorTest : public testing::Test {
 protected:
  void make(const SupervisorSettings& settings) { supervisor_.emplace(settings); }
  void make(std::uint32_t workers = 1) {
    SupervisorSettings settings;
    settings.workers = workers;
    make(settings);
  }
  std::vector<std::string> actions() {
    std::vector<std::string> texts;
    for (const auto& action : supervisor_->take_actions()) texts.push_back(describe(action));
    return texts;
  }
  // What the loop does when nothing happens: sleeps until the next deadline and ticks.
  void idle(base::Duration time) {
    const base::TimePoint end = now_ + time;
    for (;;) {
      const auto next = supervisor_->next_deadline();
      if (!next || *next > end) break;
      now_ = std::max(now_, *next);
      supervisor_->tick(now_);
      ASSERT_LT(++ticks_, 10000) << "a deadline that has passed stays the next one";
    }
    now_ = end;
    supervisor_->tick(now_);
  }
  // The process did not run at all meanwhile.
  void pause(base::Duration time) { now_ += time; }

  void to_handshaking(WorkerKey key) { supervisor_->launched(key, now_); }
  void to_ready(WorkerKey key) {
    supervisor_->launched(key, now_);
    ASSERT_TRUE(supervisor_->hello(key, now_));
  }
  WorkerEnd die(WorkerKey key, bool fruitful = false) {
    return supervisor_->exited(key, {}, SIGSEGV, fruitful, now_);
  }
  WorkerEnd killed(WorkerKey key) { return supervisor_->exited(key, {}, SIGKILL, false, now_); }

  std::optional<Supervisor> supervisor_;
  base::TimePoint now_{std::chrono::hours(1)};
  int ticks_ = 0;
};

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
    ASSERT_EQ(supervisor_->gave_up_reason(),
              "gave up on worker 1 after 5 starts: killed by signal 11 (SIGSEGV)");
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

TEST_F(SupervisorTest, ALaunchThatFailsGivesTheWorkerUpAtOnce) {
  make(2);
  supervisor_->start(now_);
  actions();
  const WorkerEnd end = supervisor_->launch_failed({1, 1}, "/no/such: not found", now_);
  EXPECT_EQ(end.verdict, "not launched");
  EXPECT_EQ(end.reason, "/no/such: not found");
  EXPECT_FALSE(end.is_crash);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(supervisor_->gave_up_reason(),
            "gave up on worker 1 after 1 starts: /no/such: not found");
  EXPECT_FALSE(supervisor_->all_given_up());
  supervisor_->launch_failed({2, 1}, "/no/such: not found", now_);
  EXPECT_TRUE(supervisor_->all_given_up());
  EXPECT_TRUE(supervisor_->all_exited());
}

TEST_F(SupervisorTest, TheCondemnedIsKilledAndItsReasonIsTheFirstOne) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  actions();
  supervisor_->condemn({1, 1}, "protocol error: nonsense");
  supervisor_->condemn({1, 1}, "another");
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  const WorkerEnd end = killed({1, 1});
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_EQ(end.reason, "protocol error: nonsense");
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
  supervisor_->condemn({1, 1}, "late");
  EXPECT_THAT(actions(), IsEmpty()) << "a dead incarnation's fault is not the next one's";
}

TEST_F(SupervisorTest, TheCondemnedIsKilledAsSoonAsItExists) {
  make();
  supervisor_->start(now_);
  actions();
  supervisor_->condemn({1, 1}, "too big to boot");
  actions();
  EXPECT_FALSE(supervisor_->hello({1, 1}, now_));
  supervisor_->launched({1, 1}, now_);
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  EXPECT_EQ(killed({1, 1}).reason, "too big to boot");
}

TEST_F(SupervisorTest, ACondemnedWorkerIsNotAskedToDrain) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  supervisor_->condemn({1, 1}, "protocol error");
  actions();
  supervisor_->drain("interrupted", now_);
  EXPECT_THAT(actions(), IsEmpty());
  idle(seconds(30));  // its memory takes long to be taken apart
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(killed({1, 1}).reason, "protocol error");
  EXPECT_TRUE(supervisor_->all_exited());
}

// The run ends normally, without a reason, while a replacement is on its way.
TEST_F(SupervisorTest, DrainMeetsEveryState) {
  make(6);
  supervisor_->start(now_);
  to_handshaking({2, 1});
  to_ready({3, 1});
  to_ready({4, 1});
  die({5, 1});
  die({5, 2});  // waits for its restart
  supervisor_->launch_failed({6, 1}, "gone", now_);
  actions();
  supervisor_->drain("", now_);
  EXPECT_THAT(actions(), ElementsAre("kill 2.1", "drain 3.1", "drain 4.1"));
  supervisor_->drain("again", now_);
  EXPECT_THAT(actions(), IsEmpty());

  const WorkerEnd handshaking = killed({2, 1});
  EXPECT_EQ(handshaking.verdict, "killed by us");
  EXPECT_EQ(handshaking.reason, "the run is over");
  EXPECT_FALSE(handshaking.is_crash);
  const WorkerEnd crashed = die({3, 1});
  EXPECT_TRUE(crashed.is_crash) << "a crash while draining is one all the same";
  EXPECT_EQ(crashed.state, WorkerState::kDraining);
  supervisor_->goodbye({4, 1});
  EXPECT_EQ(supervisor_->exited({4, 1}, 0, {}, true, now_).verdict, "finished");
  supervisor_->launched({1, 1}, now_);
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  const WorkerEnd launching = killed({1, 1});
  EXPECT_EQ(launching.verdict, "killed by us");
  EXPECT_EQ(launching.reason, "the run is over");
  EXPECT_TRUE(supervisor_->all_exited()) << "nobody is restarted";
  idle(seconds(60));
  EXPECT_THAT(actions(), IsEmpty());
}

TEST_F(SupervisorTest, AWorkerThatShakesHandsDuringTheDrainIsDrained) {
  make();
  supervisor_->start(now_);
  actions();
  supervisor_->drain("", now_);
  EXPECT_TRUE(supervisor_->hello({1, 1}, now_));
  EXPECT_THAT(actions(), ElementsAre("drain 1.1"));
  supervisor_->launched({1, 1}, now_);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kDraining);
}

TEST_F(SupervisorTest, KillAllKillsEverythingOnceAndRestartsNothing) {
  make(5);
  supervisor_->start(now_);
  to_handshaking({2, 1});
  to_ready({3, 1});
  to_ready({4, 1});
  die({5, 1});
  die({5, 2});
  actions();
  supervisor_->condemn({4, 1}, "protocol error");
  EXPECT_THAT(actions(), ElementsAre("kill 4.1"));
  supervisor_->kill_all("interrupted twice");
  EXPECT_THAT(actions(), ElementsAre("kill 1.1", "kill 2.1", "kill 3.1"));
  idle(seconds(60));
  supervisor_->launched({1, 1}, now_);
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  idle(seconds(60));
  for (std::uint32_t worker = 1; worker <= 3; ++worker) {
    EXPECT_EQ(killed({worker, 1}).reason, "interrupted twice");
  }
  EXPECT_EQ(killed({4, 1}).reason, "protocol error");
  EXPECT_TRUE(supervisor_->all_exited());
  EXPECT_THAT(actions(), IsEmpty());
}

TEST_F(SupervisorTest, KillAllCutsADrainShort) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  supervisor_->drain("interrupted", now_);
  actions();
  supervisor_->kill_all("interrupted twice");
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  EXPECT_EQ(killed({1, 1}).reason, "interrupted twice");
}

TEST_F(SupervisorTest, EachCauseHasItsVerdict) {
  struct Case {
    const char* name;
    std::optional<int> code;
    std::optional<int> signal;
    bool goodbye;
    bool condemned;
    const char* verdict;
    const char* reason;
    bool is_crash;
  };
  const Case cases[] = {
      {"goodbye", 0, {}, true, false, "finished", "", false},
      {"no goodbye", 0, {}, false, false, "exited", "exited with code 0 without goodbye", true},
      {"code", 3, {}, false, false, "exited", "exited with code 3 without goodbye", true},
      {"abort", {}, SIGABRT, false, false, "signalled", "killed by signal 6 (SIGABRT)", true},
      {"from outside",
       {},
       SIGKILL,
       false,
       false,
       "signalled",
       "killed by signal 9 (SIGKILL)",
       true},
      {"after goodbye",
       {},
       SIGSEGV,
       true,
       false,
       "signalled",
       "killed by signal 11 (SIGSEGV)",
       true},
      {"by us", {}, SIGKILL, false, true, "killed by us", "why", false},
      {"by us in time", {}, SIGTERM, false, true, "killed by us", "why", false},
      {"died before our kill",
       {},
       SIGSEGV,
       false,
       true,
       "signalled",
       "killed by signal 11 (SIGSEGV)",
       true},
      {"nobody knows", {}, {}, false, false, "lost", "ended, and nobody could learn how", true},
  };
  for (const Case& test : cases) {
    make();
    supervisor_->start(now_);
    to_ready({1, 1});
    if (test.goodbye) supervisor_->goodbye({1, 1});
    if (test.condemned) supervisor_->condemn({1, 1}, "why");
    const WorkerEnd end = supervisor_->exited({1, 1}, test.code, test.signal, false, now_);
    EXPECT_EQ(end.verdict, test.verdict) << test.name;
    EXPECT_EQ(end.reason, test.reason) << test.name;
    EXPECT_EQ(end.is_crash, test.is_crash) << test.name;
    EXPECT_EQ(end.key, (WorkerKey{1, 1})) << test.name;
  }
}

TEST_F(SupervisorTest, AFailureWithNoNumberOfItsOwnIsStillNamed) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  EXPECT_EQ(supervisor_->exited({1, 1}, {}, 63, false, now_).reason, "killed by signal 63 (SIG?)");
}

TEST_F(SupervisorTest, EachIncarnationEndsOnce) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  die({1, 1}, true);
  EXPECT_DEATH(die({1, 1}), "worker 1.1 ended twice");
  // News of the dead changes nothing about the living.
  supervisor_->launched({1, 1}, now_);
  supervisor_->goodbye({1, 1});
  EXPECT_EQ(supervisor_->state({1, 2}), WorkerState::kLaunching);
  supervisor_->launched({1, 2}, now_);
  EXPECT_EQ(supervisor_->exited({1, 2}, 0, {}, false, now_).verdict, "exited")
      << "the goodbye was the other's";
}

}  // namespace
}  // namespace bulkhead::coordinator
