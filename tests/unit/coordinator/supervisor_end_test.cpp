// How lives end under a fake clock: condemned, drained, killed; the verdicts.
#include <csignal>

#include "supervisor_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

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

TEST_F(SupervisorTest, AWorkerKilledForItsCodesFaultIsACrashAndItsSuccessorIsNot) {
  make();
  supervisor_->start(now_);
  to_ready({1, 1});
  actions();
  supervisor_->condemn_crash({1, 1}, "hung", "job 3 reached no scheduling point for 1s");
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  const WorkerEnd end = supervisor_->exited({1, 1}, {}, SIGKILL, true, now_);
  EXPECT_EQ(end.verdict, "hung");
  EXPECT_EQ(end.reason, "job 3 reached no scheduling point for 1s");
  EXPECT_TRUE(end.is_crash);
  to_ready({1, 2});
  supervisor_->condemn({1, 2}, "protocol error");
  const WorkerEnd next = killed({1, 2});
  EXPECT_EQ(next.verdict, "killed by us");
  EXPECT_FALSE(next.is_crash);
}

// Refused while it shakes hands, a worker may leave by itself before our SIGKILL meets it.
TEST_F(SupervisorTest, AWorkerRefusedAtTheEndMayGoByItself) {
  make(1);
  supervisor_->start(now_);
  supervisor_->launched({1, 1}, now_);
  supervisor_->drain("", now_);
  actions();
  EXPECT_FALSE(supervisor_->hello({1, 1}, now_)) << "which refuses it";
  const WorkerEnd end = supervisor_->exited({1, 1}, 64, {}, false, now_);
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_EQ(end.reason, "the run is over");
  EXPECT_FALSE(end.is_crash);
  EXPECT_TRUE(supervisor_->all_exited());
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
