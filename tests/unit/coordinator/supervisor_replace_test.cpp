// Workers that are replaced for no fault of theirs, under a fake clock.
#include <csignal>

#include "supervisor_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::IsEmpty;

class ReplaceTest : public SupervisorTest {
 protected:
  // All workers are ready, under `--restarts 0`.
  void start(std::uint32_t workers = 1) {
    SupervisorSettings settings;
    settings.workers = workers;
    settings.restarts = RestartLimit{0, seconds(1)};
    make(settings);
    supervisor_->start(now_);
    for (std::uint32_t worker = 1; worker <= workers; ++worker) to_ready({worker, 1});
    actions();
  }
  void replace(WorkerKey key) { supervisor_->replace(key, now_); }
  WorkerEnd finish(WorkerKey key) {
    supervisor_->goodbye(key);
    return supervisor_->exited(key, 0, {}, false, now_);
  }
};

TEST_F(ReplaceTest, ItDrainsAndTheNextIncarnationFollowsAtOnce) {
  start(2);
  replace({1, 1});
  EXPECT_THAT(actions(), ElementsAre("drain 1.1"));
  EXPECT_EQ(supervisor_->state({1, 1}), WorkerState::kDraining);
  EXPECT_EQ(supervisor_->state({2, 1}), WorkerState::kReady);
  const WorkerEnd end = finish({1, 1});
  EXPECT_EQ(end.verdict, "finished");
  EXPECT_FALSE(end.is_crash);
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
  EXPECT_TRUE(supervisor_->given_up().empty()) << "no restart: none is allowed";
  to_ready({1, 2});
  EXPECT_TRUE(supervisor_->all_started());
  EXPECT_THAT(supervisor_->ready(), ElementsAre(WorkerKey{1, 2}, WorkerKey{2, 1}));
}

TEST_F(ReplaceTest, HoweverOftenItIsNoRestartAndNoBarrenDeath) {
  start();
  for (std::uint32_t incarnation = 1; incarnation <= 100; ++incarnation) {
    replace({1, incarnation});
    finish({1, incarnation});
    ASSERT_THAT(actions(), ElementsAre("drain 1." + std::to_string(incarnation),
                                       "launch 1." + std::to_string(incarnation + 1)));
    to_ready({1, incarnation + 1});
  }
  EXPECT_TRUE(supervisor_->given_up().empty());
  // The one that follows is a worker like others.
  die({1, 101}, true);
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_EQ(given_up(),
            "gave up on worker 1 without a restart (--restarts 0/1s): killed by signal 11 "
            "(SIGSEGV)");
}

TEST_F(ReplaceTest, OneThatDrainsTooSlowlyIsKilledAndReplacedAllTheSame) {
  start();
  replace({1, 1});
  actions();
  idle(SupervisorSettings{}.drain_deadline);
  EXPECT_THAT(actions(), ElementsAre("term 1.1"));
  idle(SupervisorSettings{}.term_deadline);
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  const WorkerEnd end = killed({1, 1});
  EXPECT_EQ(end.verdict, "killed by us");
  EXPECT_FALSE(end.is_crash);
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
}

TEST_F(ReplaceTest, OneThatCrashesWhileItDrainsIsReplacedAllTheSame) {
  start();
  replace({1, 1});
  actions();
  const WorkerEnd end = die({1, 1});
  EXPECT_TRUE(end.is_crash);
  EXPECT_EQ(end.state, WorkerState::kDraining);
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
  EXPECT_TRUE(supervisor_->given_up().empty());
}

TEST_F(ReplaceTest, ASecondReplacementOfTheSameOneChangesNothing) {
  start();
  replace({1, 1});
  actions();
  idle(milliseconds(500));
  replace({1, 1});
  EXPECT_THAT(actions(), IsEmpty());
  idle(SupervisorSettings{}.drain_deadline - milliseconds(500));
  EXPECT_THAT(actions(), ElementsAre("term 1.1")) << "its deadline is the first one";
  finish({1, 1});
  EXPECT_THAT(actions(), ElementsAre("launch 1.2"));
}

TEST_F(ReplaceTest, OnlyAReadyWorkerIsReplaced) {
  start(2);
  replace({1, 2});  // not there yet
  replace({3, 1});  // never there
  supervisor_->condemn({2, 1}, "it broke the protocol");
  EXPECT_THAT(actions(), ElementsAre("kill 2.1"));
  replace({2, 1});
  EXPECT_THAT(actions(), IsEmpty());
  killed({2, 1});
  EXPECT_THAT(actions(), IsEmpty()) << "its restart is one, and none is allowed";
  replace({2, 1});  // no longer there
  replace({1, 1});
  finish({1, 1});
  EXPECT_THAT(actions(), ElementsAre("drain 1.1", "launch 1.2"));
  replace({1, 2});
  to_handshaking({1, 2});
  replace({1, 2});
  replace({1, 1});
  EXPECT_THAT(actions(), IsEmpty());
}

TEST_F(ReplaceTest, WhileTheRunDrainsNothingFollows) {
  start(2);
  replace({1, 1});
  EXPECT_THAT(actions(), ElementsAre("drain 1.1"));
  supervisor_->drain("", now_);
  EXPECT_THAT(actions(), ElementsAre("drain 2.1")) << "the other one drains already";
  replace({2, 1});
  EXPECT_THAT(actions(), IsEmpty());
  finish({1, 1});
  finish({2, 1});
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_TRUE(supervisor_->all_exited());
  idle(seconds(60));
  EXPECT_THAT(actions(), IsEmpty());
}

TEST_F(ReplaceTest, OneThatIsKilledWithAllOthersIsNotReplaced) {
  start();
  replace({1, 1});
  actions();
  supervisor_->kill_all("interrupted");
  EXPECT_THAT(actions(), ElementsAre("kill 1.1"));
  killed({1, 1});
  EXPECT_THAT(actions(), IsEmpty());
  EXPECT_TRUE(supervisor_->all_exited());
}

}  // namespace
}  // namespace bulkhead::coordinator
