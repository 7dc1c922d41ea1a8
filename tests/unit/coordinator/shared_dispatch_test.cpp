// Checkpoints, resumption and accounting of the shared-memory models, message by message.
#include "dispatch/shared_dispatch.hpp"

#include "dispatch_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

class SharedDispatchTest : public DispatchFixture<SharedDispatch> {
 protected:
  void start(WorkerKey key = {1, 1}) {
    dispatch_->worker_ready(key);
    dispatch_->begin();
    forget_outgoing();
  }
  Loss die(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blame = true) {
    return dispatch_->worker_lost(key, snapshot, blame, "killed by signal 11");
  }
  static v1::ToCoordinator received() {
    v1::ToCoordinator message;
    message.mutable_safe_received();
    return message;
  }
  static v1::ToCoordinator summary(const std::vector<std::uint64_t>& jobs) {
    v1::ToCoordinator message;
    message.mutable_results()->set_summary(true);
    for (const std::uint64_t job : jobs) message.mutable_results()->add_results()->set_index(job);
    return message;
  }
  v1::Boot boot() const {
    v1::Boot boot;
    dispatch_->fill_boot(boot);
    return boot;
  }
};

TEST_F(SharedDispatchTest, BeginsOnceWorkerAndRunAreReady) {
  dispatch_->worker_ready(k1);
  EXPECT_THAT(sent_to(k1), IsEmpty());
  dispatch_->begin();
  const auto sent = sent_to(k1);
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_TRUE(sent[0].has_begin()) << "nothing is safe yet";

  make();
  dispatch_->begin();
  EXPECT_THAT(dispatch_->take_outgoing(), IsEmpty());
  dispatch_->worker_ready(k1);
  EXPECT_EQ(sent_to(k1).size(), 1u);
}

TEST_F(SharedDispatchTest, TheSummaryCountsOnlyWithTheAnswer) {
  start();
  tell(k1, results({1}));
  tell(k1, summary({0, 2}));
  EXPECT_EQ(counts().done, 1u);
  EXPECT_EQ(dispatch_->ledger().at(0).state, JobState::kOpen);
  v1::ToCoordinator more;
  more.mutable_results()->set_summary(true);
  add_error(more, 3, 3);
  tell(k1, std::move(more));
  EXPECT_EQ(counts().failed, 0u);
  tell(k1, answer(4, "right"));
  ASSERT_TRUE(dispatch_->answer());
  EXPECT_EQ(dispatch_->answer()->checksum(), "right");
  EXPECT_EQ(counts().done, 3u);
  EXPECT_EQ(counts().failed, 1u);
  EXPECT_EQ(counts().retried, 2u);
  EXPECT_TRUE(dispatch_->source_ended());
}

TEST_F(SharedDispatchTest, TheSummaryOfTheDeadIsForgotten) {
  start();
  tell(k1, summary({0, 1}));
  die(k1, page(2, 2, {wire::kReduceJob}));
  dispatch_->late_message(k1, summary({2}));
  dispatch_->late_message(k1, answer(3));
  EXPECT_FALSE(dispatch_->finished());
  dispatch_->worker_ready({1, 2});
  EXPECT_TRUE(sent_to({1, 2}).at(0).has_begin()) << "nothing of it is safe";
  tell({1, 2}, answer(3));
  EXPECT_EQ(dispatch_->failure(), "the worker gave an answer with 0 of 3 jobs accounted for");
}

TEST_F(SharedDispatchTest, AJobNamedTwiceInASummaryCountsOnce) {
  start();
  tell(k1, summary({0, 0}));
  tell(k1, answer(1));
  EXPECT_TRUE(dispatch_->answer());
  EXPECT_EQ(counts().done, 1u);
}

TEST_F(SharedDispatchTest, AnAnswerWithJobsUnaccountedForFailsTheRun) {
  start();
  tell(k1, results({0, 2}));
  tell(k1, answer(3));
  EXPECT_FALSE(dispatch_->answer());
  EXPECT_EQ(dispatch_->failure(), "the worker gave an answer with 2 of 3 jobs accounted for");

  make();
  start();
  tell(k1, results({0, 1, 2}));
  tell(k1, answer(99'000'000));
  EXPECT_EQ(dispatch_->failure(),
            "the worker gave an answer with 3 of 99000000 jobs accounted for");
  EXPECT_EQ(dispatch_->known_jobs(), 3u) << "nothing is allocated on its word";
}

TEST_F(SharedDispatchTest, AnAnswerBeforeTheBeginningIsRefused) {
  dispatch_->worker_ready(k1);
  EXPECT_EQ(refused(k1, answer(0)), "sent an answer that it can't have");
  dispatch_->begin();
  EXPECT_EQ(refused(k1, answer(1'000'000'000'000)), "sent an answer that it can't have");
}

TEST_F(SharedDispatchTest, HostileIndicesAllocateNothing) {
  start();
  for (const std::uint64_t job : {99'999'999ull, 100'000'000ull, 1ull << 40, ~0ull}) {
    EXPECT_EQ(refused(k1, results({job})), "sent a result of job " + std::to_string(job));
    EXPECT_EQ(refused(k1, summary({job})), "sent a result of job " + std::to_string(job));
  }
  EXPECT_EQ(dispatch_->known_jobs(), 0u);
  // Nor may a page make jobs up.
  die(k1, page(3, 0, {0, 99'999'999, 1ull << 40}));
  EXPECT_EQ(dispatch_->known_jobs(), 1u);
}

TEST_F(SharedDispatchTest, OutcomesMayComeOutOfOrderAsFarAsJobsAreInFlight) {
  DispatchSettings settings;
  settings.in_flight = 1'000'000;
  make(settings);
  start();
  tell(k1, results({999'999}));
  EXPECT_EQ(dispatch_->known_jobs(), 1'000'000u);
}

TEST_F(SharedDispatchTest, ASecondOutcomeIsAProtocolError) {
  start();
  tell(k1, results({0}));
  EXPECT_EQ(refused(k1, results({0})), "sent a second result of job 0");
  EXPECT_EQ(refused(k1, summary({0})), "sent a second result of job 0");
  EXPECT_EQ(counts().done, 1u);
}

TEST_F(SharedDispatchTest, AMessageOutOfPlaceIsAProtocolError) {
  start();
  EXPECT_THAT(refused(k1, request(1)), HasSubstr("in the middle of a run"));
  EXPECT_THAT(refused(k1, inputs(0, 1)), HasSubstr("in the middle of a run"));
  EXPECT_EQ(refused(k1, received()), "acknowledged results that it was not sent");
}

TEST_F(SharedDispatchTest, ASourceOrReduceThatThrowsEndsTheRun) {
  start();
  tell(k1, pseudo_failed(false));
  EXPECT_EQ(dispatch_->failure(), "the source failed: it threw");
  make();
  start();
  tell(k1, pseudo_failed(true));
  EXPECT_EQ(dispatch_->failure(), "the reduce step failed: it threw");
}

TEST_F(SharedDispatchTest, WhatIsSafeIsResumedAndThenTheRunBegins) {
  start();
  v1::ToCoordinator message = results({0, 2});
  add_error(message, 3, 3);
  tell(k1, std::move(message));
  die(k1, page(8, 6, {1, 4}));
  dispatch_->worker_ready({1, 2});
  const auto sent = sent_to({1, 2});
  ASSERT_EQ(sent.size(), 1u) << "no beginning before it has acknowledged";
  const v1::SafeResults& safe = sent[0].safe_results();
  ASSERT_EQ(safe.results_size(), 3);
  EXPECT_EQ(safe.results(0).index(), 0u);
  EXPECT_EQ(safe.results(0).result(), result_of(0));
  EXPECT_EQ(safe.results(1).index(), 2u);
  EXPECT_EQ(safe.results(1).result(), result_of(2));
  EXPECT_EQ(safe.results(2).index(), 3u);
  EXPECT_TRUE(safe.results(2).has_error());
  EXPECT_EQ(safe.results(2).failures(), 3u);
  tell({1, 2}, received());
  const auto then = sent_to({1, 2});
  ASSERT_EQ(then.size(), 1u);
  EXPECT_TRUE(then[0].has_begin());
  EXPECT_EQ(refused({1, 2}, received()), "acknowledged results that it was not sent");
  tell({1, 2}, results({1}));
  tell({1, 2}, summary({4}));
  tell({1, 2}, answer(5));
  EXPECT_TRUE(dispatch_->answer());
  EXPECT_EQ(counts().done, 4u);
}

TEST_F(SharedDispatchTest, TheResumeStreamKeepsWithinItsCredit) {
  start();
  constexpr std::uint64_t kJobs = 20;
  const std::string large(700'000, 'x');
  for (std::uint64_t job = 0; job < kJobs; ++job) {
    v1::ToCoordinator message;
    v1::JobResult* entry = message.mutable_results()->add_results();
    entry->set_index(job);
    entry->set_result(large);
    tell(k1, std::move(message));
  }
  die(k1, page(kJobs, kJobs));
  const WorkerKey next{1, 2};
  dispatch_->worker_ready(next);
  std::uint64_t resumed = 0;
  int unacknowledged = 0;
  bool begun = false;
  while (!begun) {
    for (const auto& message : sent_to(next)) {
      if (message.has_begin()) {
        EXPECT_EQ(unacknowledged, 0);
        begun = true;
        continue;
      }
      EXPECT_FALSE(begun);
      ++unacknowledged;
      EXPECT_LE(message.ByteSizeLong(), 2u << 20);
      for (const auto& entry : message.safe_results().results()) {
        EXPECT_EQ(entry.index(), resumed++);
        EXPECT_EQ(entry.result().size(), large.size());
      }
    }
    ASSERT_TRUE(begun || unacknowledged > 0);
    EXPECT_LE(unacknowledged, 4);
    if (!begun) {
      tell(next, received());
      --unacknowledged;
    }
  }
  EXPECT_EQ(resumed, kJobs);
}

TEST_F(SharedDispatchTest, ADeathDuringTheResumeStreamStartsItAnew) {
  start();
  tell(k1, results({0, 1}));
  die(k1, page(2, 2));
  dispatch_->worker_ready({1, 2});
  forget_outgoing();
  die({1, 2}, page(0, 0));
  dispatch_->worker_ready({1, 3});
  const auto sent = sent_to({1, 3});
  ASSERT_EQ(sent.size(), 1u);
  EXPECT_EQ(sent[0].safe_results().results_size(), 2);
}

TEST_F(SharedDispatchTest, EverythingSinceTheLastCheckpointIsAtRisk) {
  start();
  tell(k1, results({0, 1, 2}));
  EXPECT_EQ(dispatch_->at_risk(k1, page(10, 8)), 7u);
  EXPECT_EQ(dispatch_->at_risk({1, 2}, page(10, 8)), 0u);
  const Loss loss = die(k1, page(10, 8, {8, 9}));
  EXPECT_EQ(loss.lost_in_flight, 2u);
  EXPECT_EQ(loss.results_lost, 5u);
  EXPECT_THAT(loss.suspects, ElementsAre(8, 9));
  EXPECT_EQ(counts().retried, 7u);
  EXPECT_EQ(counts().lost_in_flight, 2u);
  EXPECT_EQ(counts().results_lost, 5u);
  // The next one counts from nothing.
  dispatch_->worker_ready({1, 2});
  EXPECT_EQ(dispatch_->at_risk({1, 2}, page(4, 4)), 4u);
}

TEST_F(SharedDispatchTest, AttemptsThatThrewAreNotTakenForLostResults) {
  start();
  v1::ToCoordinator message;
  add_result(message, 0, 2);  // threw twice, then gave a result: three executions
  add_error(message, 1, 3);   // threw three times
  add_error(message, 2, 0);   // a worker that does not count its failures
  tell(k1, std::move(message));
  EXPECT_EQ(counts().retried, 4u);
  const Loss loss = die(k1, page(8, 7, {3}));
  EXPECT_EQ(loss.results_lost, 0u);
  EXPECT_EQ(loss.lost_in_flight, 1u);
}

// As a storm of SIGKILLs meets it: in a slot each time, and jobs end in between.
TEST_F(SharedDispatchTest, ASourceInASlotIsForgivenWhileJobsEnd) {
  start();
  std::uint32_t incarnation = 1;
  const auto die_in_source = [&](std::uint64_t done) {
    die({1, incarnation}, page(done, done, {wire::kSourceJob}));
    dispatch_->worker_ready({1, ++incarnation});
  };
  for (std::uint64_t job = 0; job < 10; ++job) {
    tell({1, incarnation}, results({job}));
    die_in_source(1);
    EXPECT_FALSE(dispatch_->finished()) << job;
  }
  die_in_source(0);
  EXPECT_FALSE(dispatch_->finished());
  die({1, incarnation}, page(0, 0, {wire::kSourceJob}));
  EXPECT_TRUE(dispatch_->finished()) << "three in a row, and nothing ended in between";
}

// A slot is written before the start is counted: the page may show a job beyond all that started.
TEST_F(SharedDispatchTest, AJobThatOvertookOneNotYetCountedIsBlamed) {
  DispatchSettings settings;
  settings.in_flight = 8;
  settings.max_attempts = 1;
  make(settings);
  start();
  tell(k1, results({0, 1, 2}));
  // Three have started and ended; jobs 3 and 4 are in slots, and only one start is counted.
  const Loss loss = die(k1, fatal(page(4, 3, {3, 4}), 4));
  EXPECT_EQ(loss.job, 4u);
  EXPECT_EQ(dispatch_->ledger().at(4).state, JobState::kQuarantined);
  EXPECT_EQ(dispatch_->ledger().at(3).blames, 0u);
}

// With nothing counted at all, as far as jobs may be in flight and no further.
TEST_F(SharedDispatchTest, ASlotIsBelievedAsFarAsJobsMayBeInFlight) {
  DispatchSettings settings;
  settings.in_flight = 8;
  make(settings);
  start();
  const Loss loss = die(k1, page(0, 0, {7, 8}));
  EXPECT_THAT(loss.suspects, ElementsAre(7));
  EXPECT_EQ(dispatch_->known_jobs(), 8u);
}

TEST_F(SharedDispatchTest, ALateCheckpointCountsUntilTheNextIncarnationIsReady) {
  start();
  die(k1, page(4, 4));
  EXPECT_EQ(counts().results_lost, 4u);
  dispatch_->late_message(k1, results({0, 1}));
  EXPECT_EQ(counts().done, 2u);
  EXPECT_EQ(counts().results_lost, 2u);
  EXPECT_EQ(counts().retried, 2u);
  dispatch_->worker_ready({1, 2});
  EXPECT_EQ(sent_to({1, 2}).at(0).safe_results().results_size(), 2);
  dispatch_->late_message(k1, results({2, 3}));
  EXPECT_EQ(counts().done, 2u);
  EXPECT_EQ(counts().duplicates, 2u);
}

TEST_F(SharedDispatchTest, AQuarantinedJobDoesNotSpoilTheLateCheckpointThatHoldsIt) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start();
  die(k1, page(3, 3, {0}));
  EXPECT_EQ(dispatch_->ledger().at(0).state, JobState::kQuarantined);
  dispatch_->late_message(k1, results({1, 0, 2}));
  EXPECT_EQ(counts().done, 2u);
  EXPECT_EQ(counts().duplicates, 1u);
}

TEST_F(SharedDispatchTest, SuspectsAndTheQuarantinedAreToldToTheNextIncarnation) {
  start();
  for (std::uint32_t incarnation = 1; incarnation <= 3; ++incarnation) {
    const WorkerKey key{1, incarnation};
    if (incarnation > 1) dispatch_->worker_ready(key);
    if (incarnation == 2) {
      EXPECT_THAT(boot().solo_jobs(), IsEmpty());
    }
    if (incarnation == 3) {
      EXPECT_THAT(boot().solo_jobs(), ElementsAre(5));
    }
    EXPECT_THAT(boot().quarantined_jobs(), IsEmpty());
    const Loss loss = die(key, fatal(page(8, 1, {4, 5, 6}), 5));
    EXPECT_EQ(loss.job, 5u);
  }
  EXPECT_THAT(boot().solo_jobs(), IsEmpty());
  EXPECT_THAT(boot().quarantined_jobs(), ElementsAre(5));
  EXPECT_EQ(dispatch_->ledger().at(4).blames, 0u);
  EXPECT_EQ(dispatch_->ledger().at(6).blames, 0u);
  EXPECT_EQ(counts().retried, 8u + 8u + 7u) << "the quarantined one does not run again";
  dispatch_->worker_ready({1, 4});
  tell({1, 4}, summary({0, 1, 2, 3, 4, 6}));
  tell({1, 4}, answer(7));
  EXPECT_TRUE(dispatch_->answer()) << dispatch_->failure();
}

TEST_F(SharedDispatchTest, AJobThatOnlyTheHandlerNamedIsBlamed) {
  start();
  const Loss loss = die(k1, fatal(page(3, 1, {}), 2));
  EXPECT_EQ(loss.job, 2u);
  EXPECT_EQ(dispatch_->ledger().at(2).blames, 1u);
}

TEST_F(SharedDispatchTest, WhoIsKilledByUsBlamesNobody) {
  start();
  const Loss loss = die(k1, page(3, 1, {1, 2}), false);
  EXPECT_THAT(loss.suspects, IsEmpty());
  EXPECT_EQ(loss.at_risk(), 3u);
  EXPECT_EQ(counts().retried, 3u);
  EXPECT_EQ(dispatch_->known_jobs(), 0u);
}

TEST_F(SharedDispatchTest, FaultsThatHaveFiredAreNotPlannedAgain) {
  DispatchSettings settings;
  settings.faults = {fault(v1::FAULT_SEGV, 20, 2), fault(v1::FAULT_THROW, 3)};
  make(settings);
  start();
  ASSERT_EQ(boot().faults_size(), 2);
  EXPECT_EQ(boot().faults(0).times(), 2u);
  wire::CrashSnapshot snapshot = fatal(page(21, 20, {20}), 20);
  snapshot.fired[0] = 1;
  snapshot.fired[1] = 1;
  die(k1, snapshot);
  ASSERT_EQ(boot().faults_size(), 1);
  EXPECT_EQ(boot().faults(0).index(), 0u);
  EXPECT_EQ(boot().faults(0).kind(), v1::FAULT_SEGV);
  EXPECT_EQ(boot().faults(0).job(), 20u);
  EXPECT_EQ(boot().faults(0).times(), 1u);
}

TEST_F(SharedDispatchTest, DeathsInTheReduceStepUseUpItsAttempts) {
  start();
  for (std::uint32_t incarnation = 1; incarnation <= 3; ++incarnation) {
    EXPECT_FALSE(dispatch_->finished());
    if (incarnation > 1) dispatch_->worker_ready({1, incarnation});
    die({1, incarnation}, fatal(page(0, 0, {wire::kReduceJob}), wire::kReduceJob));
  }
  EXPECT_EQ(dispatch_->failure(), "the reduce step failed 3 times: killed by signal 11");
}

}  // namespace
}  // namespace bulkhead::coordinator
