// Blame, suspects, quarantine and planned faults of the isolated models, message by message.
#include <algorithm>

#include "isolated_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

TEST_F(IsolatedDispatchTest, TheJobThatTheHandlerNamedIsBlamedAlone) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start(2, 10);
  tell(k1, request(10));
  forget_outgoing();
  const Loss loss = die(k1, fatal(page(4, 1, {1, 2, 3}), 2));
  EXPECT_EQ(loss.job, 2u);
  EXPECT_THAT(loss.suspects, IsEmpty());
  EXPECT_EQ(dispatch_->ledger().at(1).blames, 0u);
  EXPECT_EQ(dispatch_->ledger().at(2).state, JobState::kQuarantined);
  EXPECT_EQ(dispatch_->ledger().at(3).blames, 0u);
  EXPECT_EQ(counts().retried, 3u) << "four at risk, of which one never runs again";
  EXPECT_EQ(dispatch_->ledger().notes().at(0).reason, "killed by signal 11");
  tell(k2, request(20));
  EXPECT_THAT(jobs_of(k2), ElementsAre(0, 1, 3, 4, 5, 6, 7, 8, 9));
}

TEST_F(IsolatedDispatchTest, ACrashOutsideAnyJobMakesSuspectsOfThoseInASlot) {
  start(1, 2);
  tell(k1, request(2));
  const Loss loss = die(k1, fatal(page(2, 0, {0, 1}), wire::kNoJob));
  EXPECT_FALSE(loss.job);
  EXPECT_THAT(loss.suspects, ElementsAre(0, 1)) << "one of them may have spoilt the memory";
}

TEST_F(IsolatedDispatchTest, WhoIsKilledByUsBlamesNobody) {
  start(1, 2);
  tell(k1, request(2));
  const Loss loss = die(k1, fatal(page(2, 0, {0, 1}), 0), false);
  EXPECT_FALSE(loss.job);
  EXPECT_EQ(dispatch_->ledger().at(0).blames, 0u);
  EXPECT_EQ(loss.lost_in_flight, 2u);
  EXPECT_EQ(counts().retried, 2u);
}

TEST_F(IsolatedDispatchTest, APageCantBlameWhatItsWorkerDidNotHold) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start(2, 4);
  tell(k1, request(1));
  tell(k2, request(1));
  forget_outgoing();
  const Loss loss = die(k2, page(5, 0, {0, 1, 2, 3, 4, 1'000'000'000'000}));
  EXPECT_THAT(loss.suspects, ElementsAre(1));
  EXPECT_EQ(dispatch_->ledger().at(0).blames, 0u) << "worker 1 has it";
  EXPECT_EQ(dispatch_->ledger().at(2).blames, 0u) << "nobody has it";
  tell(k1, results({0}, 10));
  EXPECT_THAT(jobs_of(k1), ElementsAre(2, 3));
  dispatch_->worker_ready({2, 2});
  tell({2, 2}, request(1));
  const Loss named = die({2, 2}, fatal(page(1, 0, {2}), 2));
  EXPECT_FALSE(named.job);
  EXPECT_EQ(dispatch_->ledger().at(2).state, JobState::kOpen);
  tell(k1, results({2, 3}));
}

TEST_F(IsolatedDispatchTest, ASuspectRunsAloneFromItsSecondDeathOn) {
  start(2, 6);
  tell(k1, request(1));
  EXPECT_THAT(jobs_of(k1), ElementsAre(0));
  die_with(k1, 0);
  dispatch_->worker_ready({1, 2});
  tell({1, 2}, request(2));
  EXPECT_THAT(jobs_of({1, 2}), ElementsAre(0, 1)) << "one death is nothing yet";
  tell(k2, request(2));
  EXPECT_THAT(jobs_of(k2), ElementsAre(2, 3));
  die({1, 2}, page(2, 0, {0, 1}));
  // Worker 2 is the only one: it takes nothing new until it is empty, then the suspect alone.
  tell(k2, results({2}, 3));
  EXPECT_THAT(jobs_of(k2), IsEmpty());
  tell(k2, results({3}));
  EXPECT_THAT(jobs_of(k2), ElementsAre(0));
  tell(k2, request(5));
  EXPECT_THAT(jobs_of(k2), IsEmpty());
  // Others go on meanwhile.
  dispatch_->worker_ready({1, 3});
  tell({1, 3}, request(1));
  EXPECT_THAT(jobs_of({1, 3}), ElementsAre(1));
  tell(k2, results({0}));
  EXPECT_THAT(jobs_of(k2), ElementsAre(4, 5)) << "innocent: back to work";
}

TEST_F(IsolatedDispatchTest, AJobThatKillsAtEveryAttemptIsQuarantinedAndItsNeighboursAreNot) {
  start(1, 4);
  tell(k1, request(4));
  die(k1, page(2, 0, {0, 1}));
  dispatch_->worker_ready({1, 2});
  tell({1, 2}, request(4));
  die({1, 2}, page(2, 0, {0, 1}));
  for (std::uint32_t incarnation = 3; incarnation <= 4; ++incarnation) {
    const WorkerKey key{1, incarnation};
    dispatch_->worker_ready(key);
    forget_outgoing();
    tell(key, request(4));
    const auto alone = jobs_of(key);
    ASSERT_EQ(alone.size(), 1u);
    if (alone[0] == 1) die_with(key, 1);
    if (alone[0] == 0) {
      tell(key, results({0}));
      const auto next = jobs_of(key);
      ASSERT_THAT(next, ElementsAre(1));
      die_with(key, 1);
    }
    if (dispatch_->ledger().at(1).state == JobState::kQuarantined) break;
  }
  EXPECT_EQ(dispatch_->ledger().at(1).state, JobState::kQuarantined);
  EXPECT_EQ(dispatch_->ledger().at(1).blames, 3u);
  EXPECT_EQ(counts().quarantined, 1u);
  for (const std::uint64_t job : {2u, 3u}) EXPECT_EQ(dispatch_->ledger().at(job).blames, 0u);
}

TEST_F(IsolatedDispatchTest, ASuspectWhoseResultArrivesLateHoldsNoWorkerBack) {
  start(2, 8);
  tell(k1, request(1));
  die_with(k1, 0);
  dispatch_->worker_ready({1, 2});
  tell({1, 2}, request(1));
  tell(k2, request(1));
  forget_outgoing();
  // Job 0 had finished, but was still in its slot. Worker 2 is to run it when it is empty.
  die({1, 2}, page(1, 1, {0}));
  dispatch_->late_message({1, 2}, results({0}));
  EXPECT_EQ(dispatch_->ledger().at(0).state, JobState::kDone);
  tell(k2, request(2));
  EXPECT_THAT(jobs_of(k2), ElementsAre(2, 3));
}

TEST_F(IsolatedDispatchTest, AJobThatThrowsIsRetriedAndThenFails) {
  start(1, 2);
  tell(k1, request(1));
  forget_outgoing();
  tell(k1, threw(0));
  EXPECT_EQ(counts().retried, 1u);
  EXPECT_THAT(jobs_of(k1), ElementsAre(1)) << "behind the others";
  tell(k1, results({1}, 1));
  EXPECT_THAT(jobs_of(k1), ElementsAre(0));
  tell(k1, threw(0));
  EXPECT_THAT(jobs_of(k1), ElementsAre(0));
  tell(k1, threw(0, 0));
  EXPECT_EQ(dispatch_->ledger().at(0).state, JobState::kFailed);
  EXPECT_EQ(counts().retried, 2u);
  EXPECT_EQ(counts().failed, 1u);
  EXPECT_EQ(dispatch_->ledger().notes().at(0).reason, "it threw");
}

TEST_F(IsolatedDispatchTest, TextsOfWorkersAreMadePrintable) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start(1, 1);
  tell(k1, request(1));
  v1::ToCoordinator message;
  v1::JobResult* entry = message.mutable_results()->add_results();
  entry->set_index(0);
  entry->set_error("\x1b[2J" + std::string(10000, 'x'));
  tell(k1, std::move(message));
  const std::string& reason = dispatch_->ledger().notes().at(0).reason;
  EXPECT_EQ(reason.find('\x1b'), std::string::npos);
  EXPECT_LT(reason.size(), 1000u);
}

TEST_F(IsolatedDispatchTest, AFaultStaysAttachedUntilItHasFiredItsTimes) {
  DispatchSettings settings;
  settings.max_attempts = 10;
  settings.faults = {fault(v1::FAULT_THROW, 99), fault(v1::FAULT_KILL, 0, 2)};
  make(settings);
  start(1, 2);
  tell(k1, request(2));
  v1::Job job = sent_to(k1).at(0).jobs().jobs(0);
  EXPECT_EQ(job.fault().index(), 1u);
  EXPECT_EQ(job.fault().kind(), v1::FAULT_KILL);
  EXPECT_EQ(job.fault().times(), 1u);
  // It died of something else, before the fault fired.
  die(k1, page(0, 0));
  const auto again = [&](std::uint32_t incarnation) {
    dispatch_->worker_ready({1, incarnation});
    forget_outgoing();
    tell({1, incarnation}, request(1));
    return sent_to({1, incarnation}).at(0).jobs().jobs(0);
  };
  for (std::uint32_t incarnation = 2; incarnation <= 3; ++incarnation) {
    job = again(incarnation);
    ASSERT_EQ(job.index(), 0u);
    EXPECT_TRUE(job.has_fault()) << incarnation;
    wire::CrashSnapshot snapshot = page(1, 0, {0});
    snapshot.fired[1] = 1;
    die({1, incarnation}, snapshot);
  }
  EXPECT_THAT(dispatch_->fired(), ElementsAre(0, 2));
  job = again(4);
  EXPECT_EQ(job.index(), 0u);
  EXPECT_FALSE(job.has_fault());
}

TEST_F(IsolatedDispatchTest, AThrowThatIsPlannedOnceFiresOnce) {
  DispatchSettings settings;
  settings.faults = {fault(v1::FAULT_THROW, 0)};
  make(settings);
  start(1, 1);
  tell(k1, request(1));
  EXPECT_TRUE(sent_to(k1).at(0).jobs().jobs(0).has_fault());
  tell(k1, threw(0));
  EXPECT_THAT(dispatch_->fired(), ElementsAre(1));
  EXPECT_FALSE(sent_to(k1).at(0).jobs().jobs(0).has_fault());
  // The page tells the same, at the end.
  wire::CrashSnapshot snapshot = page(2, 1);
  snapshot.fired[0] = 1;
  dispatch_->count_fired(k1, snapshot);
  EXPECT_THAT(dispatch_->fired(), ElementsAre(1));
  tell(k1, results({0}));
  EXPECT_EQ(counts().done, 1u);
  EXPECT_EQ(counts().retried, 1u);
}

TEST_F(IsolatedDispatchTest, CountersOfFaultsAreSummedOverIncarnations) {
  DispatchSettings settings;
  settings.faults = {fault(v1::FAULT_THROW, 0, 10)};
  make(settings);
  wire::CrashSnapshot snapshot;
  snapshot.fired[0] = 3;
  dispatch_->count_fired(k1, snapshot);
  dispatch_->count_fired(k1, snapshot);
  dispatch_->count_fired(k2, snapshot);
  snapshot.fired[0] = 2;  // a page that counts backwards
  dispatch_->count_fired(k1, snapshot);
  EXPECT_THAT(dispatch_->fired(), ElementsAre(6));
  v1::Boot boot;
  dispatch_->fill_boot(boot);
  ASSERT_EQ(boot.faults_size(), 1);
  EXPECT_EQ(boot.faults(0).times(), 4u);
}

}  // namespace
}  // namespace bulkhead::coordinator
