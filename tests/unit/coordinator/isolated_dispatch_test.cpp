// Leases, credit, losses and the reduce step of the isolated models, message by message.
#include <algorithm>

#include "isolated_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

TEST_F(IsolatedDispatchTest, LeasesNothingBeforeTheBeginning) {
  dispatch_->worker_ready(k1);
  tell(k1, request(10));
  EXPECT_THAT(sent_to(k1), IsEmpty());
  dispatch_->worker_ready(k2);
  EXPECT_THAT(sent_to(k2), IsEmpty());
  dispatch_->begin();
  EXPECT_EQ(sent_to(k1).size() + sent_to(k2).size(), 1u) << "one of them is asked for the source";
}

TEST_F(IsolatedDispatchTest, TheSourceRunsInOneWorkerOnly) {
  dispatch_->worker_ready(k1);
  dispatch_->worker_ready(k2);
  dispatch_->begin();
  const auto first = sent_to(k1);
  ASSERT_EQ(first.size(), 1u);
  ASSERT_TRUE(first[0].has_open_source());
  EXPECT_EQ(first[0].open_source().from(), 0u);
  EXPECT_GT(first[0].open_source().credit(), 0u);
  dispatch_->worker_ready(k3);
  tell(k1, inputs(0, 5));
  EXPECT_THAT(sent_to(k2), IsEmpty());
  EXPECT_THAT(sent_to(k3), IsEmpty());
  EXPECT_EQ(refused(k2, pseudo_failed(false)),
            "reported the failure of a step that it does not run");
}

TEST_F(IsolatedDispatchTest, InputsBeyondTheCreditAreRefusedAndNotKept) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  const std::uint64_t granted = sent_to(k1).at(0).open_source().credit();
  EXPECT_EQ(refused(k1, inputs(0, granted + 1)), "sent " + std::to_string(granted + 1) +
                                                     " inputs where " + std::to_string(granted) +
                                                     " were granted");
  EXPECT_EQ(dispatch_->known_jobs(), 0u);
  tell(k1, inputs(0, granted));
  EXPECT_EQ(dispatch_->known_jobs(), granted);
}

TEST_F(IsolatedDispatchTest, InputsOutOfOrderAreRefused) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  tell(k1, inputs(0, 5));
  EXPECT_EQ(refused(k1, inputs(4, 1)), "sent inputs from job 4 on where job 5 was due");
  EXPECT_EQ(refused(k1, inputs(6, 1)), "sent inputs from job 6 on where job 5 was due");
  EXPECT_EQ(dispatch_->known_jobs(), 5u);
}

TEST_F(IsolatedDispatchTest, TheSourceGoesOnElsewhereAfterItsWorkersDeath) {
  dispatch_->worker_ready(k1);
  dispatch_->worker_ready(k2);
  dispatch_->begin();
  tell(k1, inputs(0, 7));
  forget_outgoing();
  die(k1, page(0, 0));
  const auto sent = sent_to(k2);
  ASSERT_EQ(sent.size(), 1u);
  ASSERT_TRUE(sent[0].has_open_source());
  EXPECT_EQ(sent[0].open_source().from(), 7u);
  dispatch_->late_message(k1, inputs(7, 3));
  EXPECT_EQ(dispatch_->known_jobs(), 7u) << "the other source gives them again";
  tell(k2, inputs(7, 1, true));
  EXPECT_TRUE(dispatch_->source_ended());
  EXPECT_EQ(dispatch_->known_jobs(), 8u);
}

TEST_F(IsolatedDispatchTest, ASourceThatFailsIsRetriedAndThenEndsTheRun) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  tell(k1, inputs(0, 2));
  forget_outgoing();
  for (int attempt = 1; attempt <= 2; ++attempt) {
    tell(k1, pseudo_failed(false));
    const auto sent = sent_to(k1);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_EQ(sent[0].open_source().from(), 2u);
    EXPECT_FALSE(dispatch_->finished());
  }
  tell(k1, pseudo_failed(false));
  EXPECT_EQ(dispatch_->failure(), "the source failed 3 times: it threw");
  EXPECT_THAT(sent_to(k1), IsEmpty());
}

TEST_F(IsolatedDispatchTest, TheWindowOfInputsIsBounded) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  std::uint64_t granted = sent_to(k1).at(0).open_source().credit();
  std::uint64_t sent = 0;
  const auto feed = [&] {  // a source that is faster than anybody
    while (sent < granted) {
      const std::uint64_t count = std::min<std::uint64_t>(granted - sent, 1000);
      tell(k1, inputs(sent, count));
      sent += count;
      for (const auto& message : sent_to(k1)) granted += message.source_credit().inputs();
    }
  };
  feed();
  EXPECT_EQ(sent, 8192u) << "nobody takes jobs, so it stops";
  // Half the window is worked off: there is more.
  tell(k1, request(4096));
  std::vector<std::uint64_t> done = jobs_of(k1);
  ASSERT_EQ(done.size(), 4096u);
  tell(k1, results(done));
  for (const auto& message : sent_to(k1)) granted += message.source_credit().inputs();
  feed();
  EXPECT_EQ(sent, 8192u + 4096u);
}

TEST_F(IsolatedDispatchTest, TheWindowIsBoundedInBytesAndLetsOneHugeInputPass) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  std::uint64_t granted = sent_to(k1).at(0).open_source().credit();
  tell(k1, request(1));
  std::uint64_t sent = 0;
  const auto feed = [&] {
    while (sent < granted) {
      v1::ToCoordinator message;
      message.mutable_inputs()->set_first(sent++);
      message.mutable_inputs()->add_inputs(std::string(8u << 20, 'x'));
      tell(k1, std::move(message));
      for (const auto& out : sent_to(k1)) granted += out.source_credit().inputs();
    }
  };
  feed();
  EXPECT_EQ(sent, 64u) << "the first grant knew no size; it gets no more";
  for (std::uint64_t job = 0; job < 64; ++job) {
    tell(k1, results({job}, 1));
    for (const auto& out : sent_to(k1)) granted += out.source_credit().inputs();
  }
  EXPECT_GT(granted, 64u) << "room again";
  EXPECT_LE(granted, 64u + 8u);
}

TEST_F(IsolatedDispatchTest, CreditIsNeverExceededAndAccumulates) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  forget_outgoing();
  tell(k1, request(2));
  tell(k1, inputs(0, 10, true));
  EXPECT_THAT(jobs_of(k1), ElementsAre(0, 1));
  tell(k1, request(1));
  EXPECT_THAT(jobs_of(k1), ElementsAre(2));
  tell(k1, results({0, 1}));
  EXPECT_THAT(jobs_of(k1), IsEmpty()) << "a result alone is no credit";
  tell(k1, results({2}, 3));
  EXPECT_THAT(jobs_of(k1), ElementsAre(3, 4, 5));
  tell(k1, request(100));
  EXPECT_THAT(jobs_of(k1), ElementsAre(6, 7, 8, 9));
}

TEST_F(IsolatedDispatchTest, JobsGoRound) {
  start(3, 0);
  make();
  for (const WorkerKey key : {k1, k2, k3}) {
    dispatch_->worker_ready(key);
    tell(key, request(3));
  }
  dispatch_->begin();
  forget_outgoing();
  tell(k1, inputs(0, 9, true));
  for (const WorkerKey key : {k1, k2, k3}) EXPECT_EQ(jobs_of(key).size(), 3u);
}

TEST_F(IsolatedDispatchTest, TheSourcesWorkerIsSparedWhileOthersHaveRoom) {
  dispatch_->worker_ready(k1);
  dispatch_->worker_ready(k2);
  dispatch_->begin();
  forget_outgoing();
  tell(k1, request(4));
  tell(k2, request(4));
  tell(k1, inputs(0, 4));
  EXPECT_THAT(jobs_of(k1), IsEmpty());
  EXPECT_THAT(jobs_of(k2), ElementsAre(0, 1, 2, 3));
  tell(k1, inputs(4, 2));
  EXPECT_THAT(jobs_of(k1), ElementsAre(4, 5)) << "nobody else has room";
}

TEST_F(IsolatedDispatchTest, AResultOfAJobThatItDoesNotHoldIsAProtocolError) {
  start(2, 4);
  tell(k1, request(1));
  tell(k2, request(1));
  forget_outgoing();
  EXPECT_EQ(refused(k1, results({1})), "sent a result of job 1, which it does not hold");
  EXPECT_EQ(refused(k1, results({3})), "sent a result of job 3, which it does not hold");
  EXPECT_EQ(refused(k1, results({~0ull})),
            "sent a result of job 18446744073709551615, which it does not hold");
  tell(k1, results({0}));
  EXPECT_EQ(refused(k1, results({0})), "sent a result of job 0, which it does not hold");
  EXPECT_EQ(counts().done, 1u);
}

TEST_F(IsolatedDispatchTest, AMessageOutOfPlaceIsAProtocolError) {
  start(1, 1);
  v1::ToCoordinator hello;
  hello.mutable_hello();
  EXPECT_THAT(refused(k1, std::move(hello)), HasSubstr("in the middle of a run"));
  EXPECT_THAT(refused(k1, v1::ToCoordinator()), HasSubstr("in the middle of a run"));
  v1::ToCoordinator safe;
  safe.mutable_safe_received();
  EXPECT_THAT(refused(k1, std::move(safe)), HasSubstr("in the middle of a run"));
  EXPECT_EQ(refused(k1, answer(1)), "sent an answer that it was not asked for");
  EXPECT_EQ(refused(k1, pseudo_failed(true)),
            "reported the failure of a step that it does not run");
}

TEST_F(IsolatedDispatchTest, LeasesOfTheDeadGoToTheFrontInOrder) {
  start(2, 6);
  tell(k1, request(3));
  EXPECT_THAT(jobs_of(k1), ElementsAre(0, 1, 2));
  die(k1, page(1, 0, {0}));
  tell(k2, request(6));
  EXPECT_THAT(jobs_of(k2), ElementsAre(0, 1, 2, 3, 4, 5));
}

TEST_F(IsolatedDispatchTest, WhatWasAtRiskIsCountedAndNothingElse) {
  start(2, 20);
  tell(k1, request(10));
  forget_outgoing();
  tell(k1, results({0, 1}));
  EXPECT_EQ(dispatch_->at_risk(k1, page(6, 5)), 4u);
  EXPECT_EQ(dispatch_->at_risk(k2, page(6, 5)), 6u);
  EXPECT_EQ(dispatch_->at_risk(k3, page(6, 5)), 0u);
  // Two results have arrived, three are lost, one job was running, four were waiting.
  const Loss loss = die(k1, page(6, 5, {5}));
  EXPECT_EQ(loss.lost_in_flight, 1u);
  EXPECT_EQ(loss.results_lost, 3u);
  EXPECT_FALSE(loss.job);
  EXPECT_THAT(loss.suspects, ElementsAre(5));
  EXPECT_EQ(counts().lost_in_flight, 1u);
  EXPECT_EQ(counts().results_lost, 3u);
  EXPECT_EQ(counts().retried, 4u) << "those that waited begin for the first time";
}

TEST_F(IsolatedDispatchTest, AWorkerCantLoseMoreThanItHeld) {
  start(2, 20);
  tell(k1, request(5));
  const Loss loss = die(k1, page(1'000'000'000'000, 7, {}));
  EXPECT_EQ(loss.at_risk(), 5u);
  tell(k2, request(5));
  const Loss other = die(k2, page(1'000'000'000'000, 1'000'000'000'000, {}));
  EXPECT_EQ(other.at_risk(), 5u);
}

TEST_F(IsolatedDispatchTest, ADeathBeforeReadyCostsNothing) {
  start(1, 3);
  const Loss loss = die(k2, page(9, 3, {0}));
  EXPECT_EQ(loss.at_risk(), 0u);
  EXPECT_EQ(counts().retried, 0u);
  EXPECT_EQ(dispatch_->ledger().at(0).blames, 0u);
}

TEST_F(IsolatedDispatchTest, LateResultsCountUntilTheirJobIsLeasedAgain) {
  start(2, 4);
  tell(k1, request(3));
  forget_outgoing();
  die(k1, page(3, 2, {2}));
  EXPECT_EQ(counts().results_lost, 2u);
  EXPECT_EQ(counts().retried, 3u);
  tell(k2, request(1));
  EXPECT_THAT(jobs_of(k2), ElementsAre(0));
  dispatch_->late_message(k1, results({0, 1}));
  EXPECT_EQ(counts().done, 1u) << "job 1 arrived after all";
  EXPECT_EQ(counts().duplicates, 1u) << "job 0 is under way again";
  EXPECT_EQ(counts().results_lost, 1u);
  EXPECT_EQ(counts().retried, 2u);
  tell(k2, results({0}, 10));
  EXPECT_EQ(counts().done, 2u);
  EXPECT_THAT(jobs_of(k2), ElementsAre(2, 3)) << "job 1 is not begun again";
  dispatch_->late_message(k1, results({1, 3, 77, ~0ull}));
  EXPECT_EQ(counts().duplicates, 5u);
  EXPECT_EQ(counts().done, 2u);
}

TEST_F(IsolatedDispatchTest, LateErrorsAreDropped) {
  start(2, 1);
  tell(k1, request(1));
  die(k1, page(1, 1));
  forget_outgoing();
  dispatch_->late_message(k1, threw(0));
  EXPECT_EQ(counts().duplicates, 1u);
  tell(k2, request(1));
  EXPECT_THAT(jobs_of(k2), ElementsAre(0));
}

class IsolatedReduceTest : public IsolatedDispatchTest {
 protected:
  // Job 1 of 3 fails; the others are done. The reducer is worker 1.
  void reach_reduce() {
    DispatchSettings settings;
    settings.max_attempts = 1;
    make(settings);
    start(2, 3);
    tell(k2, request(3));
    forget_outgoing();
    tell(k2, results({2}));
    EXPECT_THAT(sent_to(k1), IsEmpty());
    tell(k2, threw(1));
    EXPECT_THAT(sent_to(k1), IsEmpty()) << "not before every job is final";
    tell(k2, results({0}));
  }
  void expect_opened(WorkerKey key) {
    const auto sent = sent_to(key);
    ASSERT_EQ(sent.size(), 1u);
    ASSERT_TRUE(sent[0].has_open_reduce());
    EXPECT_EQ(sent[0].open_reduce().jobs(), 3u);
  }
  void expect_results(WorkerKey key) {
    const auto sent = sent_to(key);
    ASSERT_EQ(sent.size(), 1u);
    const v1::ReduceResults& batch = sent[0].reduce_results();
    ASSERT_EQ(batch.results_size(), 3);
    EXPECT_EQ(batch.results(0).result(), result_of(0));
    EXPECT_EQ(batch.results(1).index(), 1u);
    EXPECT_EQ(batch.results(1).outcome_case(), v1::JobResult::OUTCOME_NOT_SET) << "a gap";
    EXPECT_EQ(batch.results(2).result(), result_of(2));
    EXPECT_TRUE(batch.end());
  }
};

TEST_F(IsolatedReduceTest, StreamsResultsInOrderWithGapsForTheFailed) {
  reach_reduce();
  expect_opened(k1);
  EXPECT_THAT(sent_to(k2), IsEmpty());
  tell(k1, reduce_credit(4));
  expect_results(k1);
  tell(k1, reduce_credit(1));
  EXPECT_THAT(sent_to(k1), IsEmpty());
  EXPECT_EQ(refused(k2, answer(3)), "sent an answer that it was not asked for");
  EXPECT_FALSE(dispatch_->finished());
  tell(k1, answer(3, "right"));
  ASSERT_TRUE(dispatch_->answer());
  EXPECT_EQ(dispatch_->answer()->checksum(), "right");
  tell(k1, answer(3, "another"));
  EXPECT_EQ(dispatch_->answer()->checksum(), "right");
}

TEST_F(IsolatedReduceTest, AnAnswerBeforeAllResultsIsRefused) {
  reach_reduce();
  EXPECT_EQ(refused(k1, answer(3)), "sent an answer that it was not asked for");
  EXPECT_FALSE(dispatch_->finished());
}

TEST_F(IsolatedReduceTest, StartsAgainElsewhereWhenItsWorkerDies) {
  reach_reduce();
  tell(k1, reduce_credit(4));
  forget_outgoing();
  die(k1, page(0, 0));
  expect_opened(k2);
  tell(k2, reduce_credit(4));
  expect_results(k2);
  dispatch_->late_message(k1, answer(3, "of the dead"));
  EXPECT_FALSE(dispatch_->finished());
  tell(k2, answer(3));
  EXPECT_TRUE(dispatch_->answer());
  EXPECT_EQ(counts().done, 2u);
}

TEST_F(IsolatedReduceTest, WaitsForAWorkerWhenNobodyIsLeft) {
  reach_reduce();
  die(k1, page(0, 0));
  die(k2, page(3, 3));
  forget_outgoing();
  dispatch_->worker_ready({2, 2});
  expect_opened({2, 2});
}

TEST_F(IsolatedReduceTest, FailsTheRunAtItsLimit) {
  reach_reduce();
  tell(k1, pseudo_failed(true));
  EXPECT_EQ(dispatch_->failure(), "the reduce step failed 1 times: it threw");
}

TEST_F(IsolatedReduceTest, DeathsInTheReduceStepUseUpItsAttempts) {
  start(1, 0);
  for (std::uint32_t incarnation = 1; incarnation <= 3; ++incarnation) {
    EXPECT_FALSE(dispatch_->finished());
    die({1, incarnation}, fatal(page(0, 0, {wire::kReduceJob}), wire::kReduceJob));
    dispatch_->worker_ready({1, incarnation + 1});
  }
  EXPECT_EQ(dispatch_->failure(), "the reduce step failed 3 times: killed by signal 11");
}

TEST_F(IsolatedReduceTest, LargeResultsAreSentInBatchesWithinCredit) {
  start(1, 10);
  tell(k1, request(10));
  for (std::uint64_t job = 0; job < 10; ++job) {
    v1::ToCoordinator message;
    v1::JobResult* entry = message.mutable_results()->add_results();
    entry->set_index(job);
    entry->set_result(std::string(600'000, static_cast<char>('a' + job)));
    tell(k1, std::move(message));
  }
  forget_outgoing();
  std::uint64_t next = 0;
  for (int batches = 0; next < 10; ++batches) {
    ASSERT_LT(batches, 11);
    tell(k1, reduce_credit(1));
    const auto sent = sent_to(k1);
    ASSERT_EQ(sent.size(), 1u);
    EXPECT_LT(sent[0].ByteSizeLong(), 2u << 20);
    for (const v1::JobResult& entry : sent[0].reduce_results().results()) {
      EXPECT_EQ(entry.index(), next);
      EXPECT_EQ(entry.result(), std::string(600'000, static_cast<char>('a' + next)));
      ++next;
    }
    EXPECT_EQ(sent[0].reduce_results().end(), next == 10);
  }
}

TEST_F(IsolatedReduceTest, ASourceWithoutJobsIsReducedAllTheSame) {
  start(1, 0);
  ASSERT_EQ(sent_to(k1).at(0).open_reduce().jobs(), 0u);
  tell(k1, reduce_credit(4));
  EXPECT_THAT(sent_to(k1), IsEmpty());
  tell(k1, answer(0));
  EXPECT_TRUE(dispatch_->answer());
}

}  // namespace
}  // namespace bulkhead::coordinator
