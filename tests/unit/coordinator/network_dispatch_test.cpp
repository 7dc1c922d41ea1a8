// A network's attempts, message by message: when one begins, what ends it, and who is to blame.
#include "dispatch/network_dispatch.hpp"

#include <algorithm>

#include "dispatch_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

constexpr WorkerKey k1{1, 1};
constexpr WorkerKey k2{2, 1};
constexpr WorkerKey k3{3, 1};

v1::ToCoordinator ended(std::uint32_t task) {
  v1::ToCoordinator message;
  message.mutable_task_ended()->set_task(task);
  message.mutable_task_ended()->set_service_seconds(0.25);
  message.mutable_task_ended()->set_units(10);
  message.mutable_task_ended()->set_messages(3);
  message.mutable_task_ended()->set_bytes(100);
  return message;
}

v1::ToCoordinator ended_by(std::uint32_t task, const std::string& error) {
  v1::ToCoordinator message = ended(task);
  message.mutable_task_ended()->set_error(error);
  return message;
}

v1::ToCoordinator ended_without_its_peer(std::uint32_t task) {
  v1::ToCoordinator message = ended_by(task, "peer lost: the other end of channel 'a' is gone");
  message.mutable_task_ended()->set_peer_lost(true);
  return message;
}

// Four tasks on three workers.
class NetworkDispatchTest : public testing::Test {
 protected:
  NetworkDispatchTest() { make(); }

  void make(DispatchSettings settings = {}) {
    settings.spill_directory = testing::TempDir();
    dispatch_ = std::make_unique<NetworkDispatch>(
        settings, std::vector<std::string>{"read", "split", "count", "write"}, 3);
    dispatch_->on_service = [this](double seconds) { services_.push_back(seconds); };
    dispatch_->set_time(base::TimePoint(std::chrono::seconds(1000)));
  }
  void ready(std::vector<WorkerKey> keys) {
    for (const WorkerKey& key : keys) dispatch_->worker_ready(key);
  }
  // The first attempt runs, on k1, k2 and k3.
  void start() {
    ready({k1, k2, k3});
    dispatch_->begin();
    ASSERT_THAT(begun(), ElementsAre(k1, k2, k3));
  }
  // Who was told to begin, in the order of the workers, all of them the attempt that runs.
  std::vector<WorkerKey> begun() {
    std::vector<WorkerKey> keys;
    for (const Outgoing& outgoing : dispatch_->take_outgoing()) {
      EXPECT_TRUE(outgoing.message.has_begin_network()) << outgoing.message.ShortDebugString();
      EXPECT_EQ(outgoing.message.begin_network().attempt(), dispatch_->attempt());
      keys.push_back(outgoing.to);
      last_begin_ = outgoing.message.begin_network();
    }
    std::sort(keys.begin(), keys.end());
    return keys;
  }
  void tell(WorkerKey key, v1::ToCoordinator message) {
    const auto taken = dispatch_->message(key, std::move(message));
    EXPECT_TRUE(taken) << taken.error().text;
  }
  // The reason for which the sender is ended.
  std::string refused(WorkerKey key, v1::ToCoordinator message) {
    const auto taken = dispatch_->message(key, std::move(message));
    if (taken) return "(accepted)";
    EXPECT_EQ(taken.error().code, Code::kProtocolError);
    return taken.error().text;
  }
  Loss die(WorkerKey key, const wire::CrashSnapshot& snapshot = {}, bool blame = true) {
    return dispatch_->worker_lost(key, snapshot, blame, "killed by signal 11");
  }
  const LedgerCounts& counts() const { return dispatch_->ledger().counts(); }
  // As coordinator and host would: all of them end and come again, the dead one among them.
  void renew(std::uint32_t incarnation) {
    for (const WorkerKey& key : dispatch_->take_replaced()) die(key, {}, false);
    ready({{1, incarnation}, {2, incarnation}, {3, incarnation}});
    ASSERT_EQ(begun().size(), 3u);
  }
  void end_all(WorkerKey first, WorkerKey second, WorkerKey third) {
    tell(first, ended(0));
    tell(first, ended(1));
    tell(second, ended(2));
    tell(third, answer(4));
    tell(third, ended(3));
  }

  std::unique_ptr<NetworkDispatch> dispatch_;
  std::vector<double> services_;
  v1::BeginNetwork last_begin_;
};

TEST_F(NetworkDispatchTest, ItBeginsWhenEveryWorkerIsReadyAndNoEarlier) {
  dispatch_->begin();
  EXPECT_THAT(begun(), IsEmpty());
  ready({k3, k1});
  EXPECT_THAT(begun(), IsEmpty());
  EXPECT_EQ(dispatch_->attempt(), 0u);
  ready({{2, 7}});
  EXPECT_THAT(begun(), ElementsAre(k1, WorkerKey{2, 7}, k3));
  EXPECT_EQ(dispatch_->attempt(), 1u);
  EXPECT_THAT(last_begin_.incarnations(), ElementsAre(1, 7, 1)) << "by their numbers";
}

TEST_F(NetworkDispatchTest, ReadyWorkersWaitUntilTheRunBegins) {
  ready({k1, k2, k3});
  EXPECT_THAT(begun(), IsEmpty());
  dispatch_->begin();
  EXPECT_EQ(begun().size(), 3u);
  EXPECT_FALSE(dispatch_->finished());
}

TEST_F(NetworkDispatchTest, OneThatDiesBeforeTheBeginIsNobodysLossAndItsNextOneTakesItsPlace) {
  dispatch_->begin();
  ready({k1, k2});
  const Loss loss = die(k2, page(0, 0));
  EXPECT_EQ(loss.at_risk(), 0u);
  EXPECT_FALSE(dispatch_->was_at_work(k2));
  ready({k3});
  EXPECT_THAT(begun(), IsEmpty()) << "of two it is not known that they are ready";
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
  ready({{2, 2}});
  EXPECT_THAT(begun(), ElementsAre(k1, WorkerKey{2, 2}, k3));
  EXPECT_EQ(dispatch_->attempt(), 1u);
}

TEST_F(NetworkDispatchTest, TheAnswerIsThereWhenAllTasksHaveEnded) {
  start();
  tell(k3, answer(4, "the sum"));
  tell(k3, ended(3));
  tell(k1, ended(0));
  tell(k2, ended(2));
  EXPECT_FALSE(dispatch_->finished());
  EXPECT_FALSE(dispatch_->answer());
  EXPECT_EQ(counts().done, 0u);
  EXPECT_THAT(services_, IsEmpty()) << "an attempt is done as a whole";
  tell(k1, ended(1));
  ASSERT_TRUE(dispatch_->answer());
  EXPECT_EQ(dispatch_->answer()->checksum(), "the sum");
  EXPECT_EQ(dispatch_->failure(), "");
  EXPECT_EQ(counts().done, 4u);
  EXPECT_EQ(counts().retried, 0u);
  EXPECT_THAT(services_, ElementsAre(0.25, 0.25, 0.25, 0.25));
  EXPECT_EQ(dispatch_->units(), 40u);
  EXPECT_EQ(dispatch_->messages(), 12u);
  EXPECT_EQ(dispatch_->bytes(), 400u);
}

TEST_F(NetworkDispatchTest, WhereAllHaveEndedAndNoneAnsweredTheRunEnds) {
  start();
  const std::vector<WorkerKey> owners{k1, k1, k2, k3};
  for (std::uint32_t task = 0; task < 4; ++task) tell(owners[task], ended(task));
  EXPECT_TRUE(dispatch_->finished());
  EXPECT_FALSE(dispatch_->answer());
  EXPECT_EQ(dispatch_->failure(), "every task has ended, and none gave an answer");
}

TEST_F(NetworkDispatchTest, ANetworkThatCouldNotBeMadeEndsTheRun) {
  start();
  tell(k2, pseudo_failed(false));
  EXPECT_EQ(dispatch_->failure(), "the network could not be made: it threw");
}

// How an attempt can fail; k2 does it.
enum class Mishap { kPeerLost, kThrow, kDeath };

class MishapTest : public NetworkDispatchTest, public testing::WithParamInterface<Mishap> {
 protected:
  void happen(WorkerKey key) {
    if (GetParam() == Mishap::kPeerLost) tell(key, ended_without_its_peer(2));
    if (GetParam() == Mishap::kThrow) tell(key, ended_by(2, "it threw"));
    if (GetParam() == Mishap::kDeath) die(key, page(2, 0, {2}));
  }
};

INSTANTIATE_TEST_SUITE_P(Mishaps, MishapTest,
                         testing::Values(Mishap::kPeerLost, Mishap::kThrow, Mishap::kDeath),
                         [](const auto& mishap) {
                           if (mishap.param == Mishap::kPeerLost) return "PeerLost";
                           return mishap.param == Mishap::kThrow ? "Throw" : "Death";
                         });

TEST_P(MishapTest, AllWorkersThatLiveAreReplacedOnceAndWhatHadEndedIsVoid) {
  start();
  tell(k1, ended(0));
  tell(k3, answer(4, "of the first attempt"));
  tell(k3, ended(3));
  happen(k2);
  if (GetParam() == Mishap::kDeath) {
    EXPECT_THAT(dispatch_->take_replaced(), UnorderedElementsAre(k1, k3));
  } else {
    EXPECT_THAT(dispatch_->take_replaced(), UnorderedElementsAre(k1, k2, k3));
  }
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
  EXPECT_THAT(begun(), IsEmpty());
  EXPECT_FALSE(dispatch_->finished());
  EXPECT_EQ(counts().lost_in_flight, 2u);
  EXPECT_EQ(counts().results_lost, 2u);
  EXPECT_EQ(counts().retried, 4u);

  ready({{1, 2}, {2, 2}, {3, 2}});
  EXPECT_THAT(begun(), ElementsAre(WorkerKey{1, 2}, WorkerKey{2, 2}, WorkerKey{3, 2}));
  EXPECT_EQ(dispatch_->attempt(), 2u);
  EXPECT_THAT(last_begin_.incarnations(), ElementsAre(2, 2, 2));
  tell({1, 2}, ended(1));
  tell({2, 2}, ended(2));
  EXPECT_FALSE(dispatch_->finished()) << "tasks 0 and 3 count as ended from the attempt before";
  tell({1, 2}, ended(0));
  tell({3, 2}, answer(4, "of the second attempt"));
  tell({3, 2}, ended(3));
  ASSERT_TRUE(dispatch_->answer());
  EXPECT_EQ(dispatch_->answer()->checksum(), "of the second attempt");
  EXPECT_EQ(dispatch_->units(), 40u) << "of the attempt that gave the answer";
  EXPECT_EQ(dispatch_->messages(), 12u);
  EXPECT_EQ(dispatch_->bytes(), 400u);
  EXPECT_EQ(services_.size(), 4u);
}

TEST_P(MishapTest, WhatTheWorkersOfAFailedAttemptStillSayChangesNothing) {
  start();
  happen(k2);
  dispatch_->take_replaced();
  const std::uint64_t retried = counts().retried;
  const auto stragglers = [&] {
    for (const WorkerKey& key : {k1, k3}) {
      tell(key, answer(4, "late"));
      tell(key, answer(4, "late"));
      tell(key, ended(0));
      tell(key, ended(0));
      tell(key, ended_without_its_peer(1));
      tell(key, ended_by(1, "it threw"));
      tell(key, ended(77));
    }
  };
  stragglers();
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
  // Also when the next attempt runs, until they are gone.
  ready({{1, 2}, {2, 2}, {3, 2}});
  ASSERT_EQ(begun().size(), 3u);
  stragglers();
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
  EXPECT_FALSE(dispatch_->finished());
  EXPECT_EQ(dispatch_->ledger().at(1).failures, 0u);
  EXPECT_EQ(counts().retried, retried);
  EXPECT_EQ(dispatch_->units(), 0u);
  end_all({1, 2}, {2, 2}, {3, 2});
  ASSERT_TRUE(dispatch_->answer());
  EXPECT_EQ(dispatch_->answer()->checksum(), "sum");
}

TEST_P(MishapTest, TheEndsOfReplacedWorkersDisturbTheNextAttemptNot) {
  start();
  happen(k2);
  ready({{2, 2}});
  const std::uint64_t retried = counts().retried;
  for (const WorkerKey& key : {k1, k3}) {
    EXPECT_TRUE(dispatch_->was_at_work(key));
    EXPECT_EQ(die(key, page(2, 2), false).at_risk(), 0u);
    ready({{key.worker, 2}});
  }
  EXPECT_EQ(begun().size(), 3u);
  dispatch_->take_replaced();
  end_all({1, 2}, {2, 2}, {3, 2});
  EXPECT_TRUE(dispatch_->answer());
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
  EXPECT_EQ(counts().retried, retried);
}

TEST_P(MishapTest, NothingFollowsTheAnswer) {
  start();
  end_all(k1, k2, k3);
  ASSERT_TRUE(dispatch_->answer());
  if (GetParam() == Mishap::kDeath) {
    EXPECT_EQ(die(k2, page(2, 2)).at_risk(), 0u);
  } else {
    EXPECT_THAT(refused(k2, ended_by(2, "it threw")), HasSubstr("told twice"));
  }
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
  EXPECT_EQ(counts().retried, 0u);
  EXPECT_TRUE(dispatch_->answer());
  ready({{1, 2}, {2, 2}, {3, 2}});
  EXPECT_THAT(begun(), IsEmpty());
}

TEST_F(NetworkDispatchTest, ADeathCostsWhatTheAttemptHadDone) {
  start();
  tell(k1, ended(0));
  dispatch_->set_time(base::TimePoint(std::chrono::milliseconds(1'002'500)));
  const Loss loss = die(k2, fatal(page(1, 0, {2}), 2));
  EXPECT_EQ(loss.results_lost, 1u);
  EXPECT_EQ(loss.lost_in_flight, 3u);
  EXPECT_EQ(loss.job, 2u);
  EXPECT_THAT(loss.suspects, IsEmpty());
  ASSERT_TRUE(loss.seconds);
  EXPECT_DOUBLE_EQ(*loss.seconds, 2.5);
}

// A survivor notices the loss of its peer before the host notices the death.
TEST_F(NetworkDispatchTest, ADeathThatIsKnownAfterThePeersLossIsCountedOnce) {
  start();
  tell(k1, ended(0));
  tell(k3, ended_without_its_peer(3));
  EXPECT_EQ(counts().lost_in_flight, 3u);
  const Loss first = die(k2, fatal(page(1, 0, {2}), 2));
  EXPECT_EQ(first.lost_in_flight, 3u) << "the cost is told with the death that caused it";
  EXPECT_EQ(first.results_lost, 1u);
  EXPECT_TRUE(first.seconds);
  EXPECT_EQ(first.job, 2u);
  const Loss second = die(k1, page(1, 1));
  EXPECT_EQ(second.at_risk(), 0u);
  EXPECT_FALSE(second.seconds);
  EXPECT_EQ(counts().lost_in_flight, 3u);
  EXPECT_EQ(counts().results_lost, 1u);
  EXPECT_EQ(counts().retried, 4u);
  EXPECT_EQ(dispatch_->ledger().at(2).blames, 1u);
}

TEST_F(NetworkDispatchTest, TwoDeathsInOneAttemptCostItOnce) {
  start();
  const Loss first = die(k1, page(1, 0, {0}));
  const Loss second = die(k2, page(1, 0, {2}));
  EXPECT_EQ(first.at_risk(), 4u);
  EXPECT_EQ(second.at_risk(), 0u);
  EXPECT_EQ(counts().retried, 4u);
  // Nobody lives twice: that k2 has died meanwhile is nothing that a replacement minds.
  const auto replaced = dispatch_->take_replaced();
  EXPECT_THAT(replaced, UnorderedElementsAre(k2, k3));
}

TEST_F(NetworkDispatchTest, WhoIsKilledByUsBlamesNobodyButItsAttemptHasFailed) {
  start();
  const Loss loss = die(k2, fatal(page(1, 0, {2}), 2), false);
  EXPECT_FALSE(loss.job);
  EXPECT_EQ(dispatch_->ledger().at(2).blames, 0u);
  EXPECT_THAT(dispatch_->take_replaced(), UnorderedElementsAre(k1, k3));
  EXPECT_EQ(counts().retried, 4u);
}

TEST_F(NetworkDispatchTest, ATaskThatThrowsAtEachAttemptEndsTheRun) {
  start();
  tell(k2, ended_by(2, "out of words"));
  EXPECT_FALSE(dispatch_->finished());
  renew(2);
  tell({1, 2}, ended_by(1, "another one"));
  renew(3);
  tell({2, 3}, ended_by(2, "out of words"));
  EXPECT_FALSE(dispatch_->finished());
  renew(4);
  EXPECT_EQ(dispatch_->attempt(), 4u);
  tell({2, 4}, ended_by(2, "out of\n\x1b[2Jwords"));
  EXPECT_TRUE(dispatch_->finished());
  EXPECT_THAT(dispatch_->failure(), testing::StartsWith("task 'count' failed: out of"));
  EXPECT_EQ(dispatch_->failure().find('\x1b'), std::string::npos) << "made printable";
  EXPECT_EQ(counts().failed, 1u);
  ready({{1, 5}, {2, 5}, {3, 5}});
  EXPECT_THAT(begun(), IsEmpty()) << "no attempt follows";
}

TEST_F(NetworkDispatchTest, ATaskThatTheHandlerNamesAtEachDeathEndsTheRun) {
  DispatchSettings settings;
  settings.max_attempts = 2;
  make(settings);
  start();
  const Loss first = die(k2, fatal(page(2, 0, {1, 2}), 2));
  EXPECT_EQ(first.job, 2u);
  EXPECT_FALSE(dispatch_->finished());
  renew(2);
  die({2, 2}, fatal(page(2, 0, {1, 2}), 2));
  EXPECT_EQ(dispatch_->failure(), "task 'count' was to blame for 2 deaths: killed by signal 11");
  EXPECT_EQ(dispatch_->ledger().at(1).blames, 0u) << "its neighbour was not named";
  EXPECT_EQ(counts().quarantined, 1u);
  ready({{1, 3}, {2, 3}, {3, 3}});
  EXPECT_THAT(begun(), IsEmpty());
}

// Also where the survivors' word came first.
TEST_F(NetworkDispatchTest, OneThatIsNamedLateIsToBlameAsWell) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start();
  tell(k1, ended_without_its_peer(0));
  EXPECT_FALSE(dispatch_->finished());
  die(k2, fatal(page(1, 0, {2}), 2));
  EXPECT_THAT(dispatch_->failure(), HasSubstr("task 'count' was to blame for 1 deaths"));
}

TEST_F(NetworkDispatchTest, OneThatUsesUpTheMemoryIsToBlameAsWell) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start();
  wire::CrashSnapshot snapshot = page(1, 0, {2});
  snapshot.by_limit = true;
  EXPECT_THAT(die(k2, snapshot).suspects, ElementsAre(2));
  EXPECT_THAT(dispatch_->failure(), HasSubstr("task 'count' was to blame"));
}

TEST_F(NetworkDispatchTest, KillsFromOutsideMakeSuspectsAndNeverEndTheRun) {
  start();
  for (std::uint32_t incarnation = 1; incarnation <= 50; ++incarnation) {
    const Loss loss = die({2, incarnation}, page(2, 0, {1, 2, 4, wire::kSourceJob}));
    EXPECT_THAT(loss.suspects, ElementsAre(1, 2)) << "what no task of it is, nobody suspects";
    EXPECT_EQ(loss.at_risk(), 4u);
    ASSERT_FALSE(dispatch_->finished()) << dispatch_->failure();
    renew(incarnation + 1);
  }
  EXPECT_EQ(dispatch_->ledger().at(2).blames, 0u);
  EXPECT_EQ(dispatch_->attempt(), 51u);
  end_all({1, 51}, {2, 51}, {3, 51});
  EXPECT_TRUE(dispatch_->answer());
}

TEST_F(NetworkDispatchTest, APageThatNamesNoTaskOfThisNetworkBlamesNone) {
  DispatchSettings settings;
  settings.max_attempts = 1;
  make(settings);
  start();
  const Loss loss = die(k2, fatal(page(1, 0, {2}), 4));
  EXPECT_FALSE(loss.job);
  EXPECT_FALSE(dispatch_->finished());
}

TEST_F(NetworkDispatchTest, WhoeverSpeaksOutOfTurnIsEnded) {
  ready({k1, k2, k3});
  EXPECT_EQ(refused(k1, ended(0)), "spoke before it was to begin");
  EXPECT_EQ(refused(k1, answer(4)), "spoke before it was to begin");
  dispatch_->begin();
  begun();
  tell(k1, ended(0));
  EXPECT_EQ(refused(k1, ended(0)), "told twice how task 0 ended");
  EXPECT_THAT(refused(k2, ended_without_its_peer(0)), HasSubstr("which it does not have"));
  EXPECT_EQ(refused(k1, ended(4)), "told how task 4 ended, which it does not have");
  tell(k3, answer(4, "the first"));
  EXPECT_EQ(refused(k3, answer(4, "the second")), "gave a second answer");
  EXPECT_EQ(refused(k1, answer(4, "another's")), "gave a second answer");
  EXPECT_THAT(refused(k1, request(1)), HasSubstr("in the middle of a network"));
  EXPECT_FALSE(dispatch_->finished());
  EXPECT_THAT(dispatch_->take_replaced(), IsEmpty());
}

TEST_F(NetworkDispatchTest, ANewWorkerSpeaksBeforeItsAttemptBegins) {
  start();
  die(k2, page(1, 0, {2}));
  ready({{2, 2}});
  EXPECT_EQ(refused({2, 2}, ended(2)), "spoke before it was to begin");
}

TEST_F(NetworkDispatchTest, TheBootMessageSaysHowManyShareItAndWhatStrikesWhen) {
  DispatchSettings settings;
  settings.faults = {fault(v1::FAULT_SEGV, 2), fault(v1::FAULT_THROW, 1)};
  settings.faults[0].operation = 50;
  make(settings);
  start();
  v1::Boot boot;
  dispatch_->fill_boot(boot);
  EXPECT_EQ(boot.workers(), 3u);
  EXPECT_FALSE(boot.injects());
  ASSERT_EQ(boot.faults_size(), 2);
  EXPECT_EQ(boot.faults(0).job(), 2u);
  EXPECT_EQ(boot.faults(0).operation(), 50u);
  wire::CrashSnapshot snapshot = fatal(page(1, 0, {2}), 2);
  snapshot.fired[0] = 1;
  die(k2, snapshot);
  EXPECT_THAT(dispatch_->fired(), ElementsAre(1, 0));
  v1::Boot next;
  dispatch_->fill_boot(next);
  ASSERT_EQ(next.faults_size(), 1) << "once is enough";
  EXPECT_EQ(next.faults(0).index(), 1u);
  EXPECT_EQ(next.faults(0).kind(), v1::FAULT_THROW);
}

}  // namespace
}  // namespace bulkhead::coordinator
