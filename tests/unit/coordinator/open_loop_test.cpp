// Open loops in virtual time: a job is handed out when it is due, never before, and its latency
// counts from then whoever was late.
#include <algorithm>

#include "dispatch/shared_dispatch.hpp"
#include "isolated_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using std::chrono::milliseconds;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::IsEmpty;

constexpr double kNanosecond = 1e-9;

class IsolatedOpenLoopTest : public IsolatedDispatchTest {
 protected:
  // A job every 10 ms. Worker 1 has sent `count` inputs, `workers` have credit for `credit` each.
  void open(std::uint32_t workers, std::uint64_t count, std::uint32_t credit = 100) {
    DispatchSettings settings;
    settings.rate_per_second = 100;
    make(settings);
    dispatch_->on_latency = [this](double seconds) { latencies_.push_back(seconds); };
    dispatch_->set_time(kOrigin);
    start(workers, count);
    for (std::uint32_t worker = 1; worker <= workers; ++worker) tell({worker, 1}, request(credit));
  }
  void pass_until(base::Duration since_origin) {
    dispatch_->set_time(kOrigin + since_origin);
    dispatch_->tick();
  }
  std::optional<base::Duration> next() const {
    const auto due = dispatch_->next_due();
    return due ? std::optional(base::Duration(*due - kOrigin)) : std::nullopt;
  }
  // What the only worker was given since the last look.
  std::vector<std::uint64_t> given() { return jobs_of(k1); }

  static constexpr base::TimePoint kOrigin{std::chrono::hours(1)};
  std::vector<double> latencies_;
};

TEST_F(IsolatedOpenLoopTest, AJobIsHandedOutWhenItIsDueAndNotBefore) {
  open(1, 3);
  EXPECT_THAT(given(), ElementsAre(0)) << "due from the beginning";
  EXPECT_EQ(next(), milliseconds(10));
  pass_until(milliseconds(10) - base::Duration(1));
  EXPECT_THAT(given(), IsEmpty());
  EXPECT_EQ(next(), milliseconds(10));
  pass_until(milliseconds(10));
  EXPECT_THAT(given(), ElementsAre(1));
  EXPECT_EQ(next(), milliseconds(20));
  pass_until(milliseconds(500));
  EXPECT_THAT(given(), ElementsAre(2));
  EXPECT_EQ(next(), std::nullopt) << "there are no more";
}

TEST_F(IsolatedOpenLoopTest, NothingButTheTimeIsWaitedForWhileNoWorkerHasRoom) {
  open(1, 3, 1);
  EXPECT_THAT(given(), ElementsAre(0));
  EXPECT_EQ(next(), std::nullopt) << "what comes first is a request";
  pass_until(milliseconds(25));
  EXPECT_THAT(given(), IsEmpty()) << "two are due, and the limit of jobs in flight holds";
  tell(k1, request(1));
  EXPECT_THAT(given(), ElementsAre(1));
  tell(k1, request(5));
  EXPECT_THAT(given(), ElementsAre(2));
}

TEST_F(IsolatedOpenLoopTest, LatencyCountsFromTheIntendedStartWhateverMadeItLate) {
  open(1, 3, 1);
  pass_until(milliseconds(4));
  tell(k1, results({0}));
  pass_until(milliseconds(400));
  tell(k1, request(2));  // nobody had room before
  EXPECT_THAT(given(), ElementsAre(0, 1, 2));
  pass_until(milliseconds(410));
  tell(k1, results({2}));
  pass_until(milliseconds(430));
  tell(k1, results({1}));
  EXPECT_THAT(latencies_,
              ElementsAre(DoubleNear(0.004, kNanosecond), DoubleNear(0.390, kNanosecond),
                          DoubleNear(0.420, kNanosecond)));
}

TEST_F(IsolatedOpenLoopTest, ARetryKeepsItsIntendedStart) {
  open(2, 4);
  pass_until(milliseconds(10));
  const std::vector<std::uint64_t> first = jobs_of(k1);
  const std::vector<std::uint64_t> second = jobs_of(k2);
  ASSERT_EQ(first.size() + second.size(), 2u);
  pass_until(milliseconds(15));
  for (const std::uint64_t job : first) tell(k1, threw(job, 0));
  die(k2, page(second.size(), 0, {}), false);
  const std::vector<std::uint64_t> again = jobs_of(k1);
  EXPECT_EQ(again.size(), 2u) << "at once, ahead of those that are not due";
  pass_until(milliseconds(18));
  for (const std::uint64_t job : again) {
    tell(k1, results({job}));
    EXPECT_NEAR(latencies_.back(), job == 0 ? 0.018 : 0.008, kNanosecond);
  }
  EXPECT_THAT(jobs_of(k1), IsEmpty());
  EXPECT_EQ(next(), milliseconds(20));
}

TEST_F(IsolatedOpenLoopTest, ALateResultOfTheDeadCountsWhenItArrives) {
  open(2, 1, 0);
  tell(k2, request(1));
  EXPECT_THAT(jobs_of(k2), ElementsAre(0));
  die(k2, page(1, 1), false);
  dispatch_->set_time(kOrigin + milliseconds(30));
  dispatch_->late_message(k2, results({0}));
  EXPECT_THAT(latencies_, ElementsAre(DoubleNear(0.030, kNanosecond)));
}

TEST_F(IsolatedOpenLoopTest, AJobWithoutAResultHasNoLatency) {
  open(1, 1);
  for (int attempt = 0; attempt < 3; ++attempt) tell(k1, threw(0));
  EXPECT_EQ(counts().failed, 1u);
  EXPECT_THAT(latencies_, IsEmpty());
}

TEST_F(IsolatedOpenLoopTest, AJobGoesToTheWorkerThatHoldsTheFewest) {
  open(3, 20);
  pass_until(milliseconds(50));  // six are due
  EXPECT_EQ(jobs_of(k1).size(), 2u);
  const std::vector<std::uint64_t> busy = jobs_of(k2);
  EXPECT_EQ(busy.size(), 2u);
  EXPECT_EQ(jobs_of(k3).size(), 2u);
  tell(k2, results(busy));
  pass_until(milliseconds(70));
  EXPECT_EQ(jobs_of(k2).size(), 2u) << "the idle one is given both";
}

TEST_F(IsolatedOpenLoopTest, AClosedLoopKnowsNoTime) {
  make();
  dispatch_->on_latency = [this](double seconds) { latencies_.push_back(seconds); };
  start(1, 3);
  EXPECT_EQ(dispatch_->next_due(), std::nullopt);
  tell(k1, request(3));
  EXPECT_THAT(given(), ElementsAre(0, 1, 2));
  tell(k1, results({0, 1, 2}));
  EXPECT_THAT(latencies_, IsEmpty());
}

class SharedOpenLoopTest : public DispatchFixture<SharedDispatch> {
 protected:
  SharedOpenLoopTest() {
    DispatchSettings settings;
    settings.rate_per_second = 100;
    make(settings);
    dispatch_->on_latency = [this](double seconds) { latencies_.push_back(seconds); };
  }
  std::vector<double> latencies_;
};

TEST_F(SharedOpenLoopTest, EachIncarnationIsToldTheSameOrigin) {
  const base::TimePoint origin{std::chrono::hours(1)};
  dispatch_->worker_ready({1, 1});
  dispatch_->set_time(origin);
  dispatch_->begin();
  EXPECT_EQ(sent_to({1, 1}).at(0).begin().origin_nanoseconds(), origin.time_since_epoch().count());
  dispatch_->set_time(origin + std::chrono::seconds(5));
  dispatch_->worker_lost({1, 1}, page(0, 0), true, "killed by signal 11");
  dispatch_->worker_ready({1, 2});
  EXPECT_EQ(sent_to({1, 2}).at(0).begin().origin_nanoseconds(), origin.time_since_epoch().count());
}

TEST_F(SharedOpenLoopTest, EachJobThatIsDoneHasTheLatencyThatItsWorkerMeasured) {
  dispatch_->worker_ready(k1);
  dispatch_->begin();
  v1::ToCoordinator checkpoint = results({0});
  checkpoint.mutable_results()->mutable_results(0)->set_latency_seconds(0.25);
  add_error(checkpoint, 1, 3);
  tell(k1, std::move(checkpoint));
  v1::ToCoordinator summary;
  summary.mutable_results()->set_summary(true);
  v1::JobResult* entry = summary.mutable_results()->add_results();
  entry->set_index(2);
  entry->set_latency_seconds(0.5);
  tell(k1, std::move(summary));
  EXPECT_THAT(latencies_, ElementsAre(0.25)) << "a summary counts with its answer";
  tell(k1, answer(3));
  EXPECT_THAT(latencies_, ElementsAre(0.25, 0.5));
}

}  // namespace
}  // namespace bulkhead::coordinator
