// Results that a dead worker left on its crash page.
#include <bulkhead/wire/data_message.hpp>

#include "isolated_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

std::string kept(std::uint64_t job) {
  std::string encoded;
  const std::string result = result_of(job);
  wire::encode(wire::ResultMessage{.index = job, .bytes = result}, encoded);
  return encoded;
}

class IsolatedRescueTest : public IsolatedDispatchTest {
 protected:
  // Worker 1 has jobs 0 to 3, of which 0 and 1 have arrived and 2 is on its page only.
  void SetUp() override {
    start(1, 4);
    tell(k1, request(4));
    ASSERT_EQ(jobs_of(k1), (std::vector<std::uint64_t>{0, 1, 2, 3}));
    tell(k1, results({0, 1}));
  }
};

TEST_F(IsolatedRescueTest, AResultOnThePageIsSafe) {
  dispatch_->kept_results(k1, {kept(0), kept(2), kept(1)});
  const Loss loss = dispatch_->worker_lost(k1, page(4, 3, {3}), true, "it died");
  EXPECT_EQ(loss.results_lost, 0u);
  EXPECT_EQ(loss.lost_in_flight, 1u);
  EXPECT_EQ(counts().done, 3u);
  EXPECT_EQ(counts().retried, 1u);
  EXPECT_EQ(*dispatch_->ledger().store().get(2), result_of(2));
  dispatch_->worker_ready(k2);
  tell(k2, request(4));
  EXPECT_EQ(jobs_of(k2), (std::vector<std::uint64_t>{3}));
}

TEST_F(IsolatedRescueTest, TheMessageThatStillArrivesIsNoDuplicate) {
  dispatch_->kept_results(k1, {kept(2)});
  dispatch_->worker_lost(k1, page(4, 3, {3}), true, "it died");
  dispatch_->late_message(k1, results({2}));
  EXPECT_EQ(counts().duplicates, 0u);
  EXPECT_EQ(counts().done, 3u);
  dispatch_->late_message(k1, results({2}));
  EXPECT_EQ(counts().duplicates, 1u);
}

TEST_F(IsolatedRescueTest, WhatItDoesNotHoldAndWhatIsNoResultIsPassedOver) {
  v1::JobResult threw;
  threw.set_index(3);
  threw.set_error("the attempt before this one");
  dispatch_->kept_results(k1, {"", "\xff\xff\xff", std::string(500, 'x'), kept(17), kept(~0ull),
                               threw.SerializeAsString(), v1::JobResult().SerializeAsString()});
  dispatch_->kept_results(k3, {kept(2)});  // never ready
  EXPECT_EQ(counts().done, 2u);
  EXPECT_EQ(counts().failed, 0u);
  const Loss loss = dispatch_->worker_lost(k1, page(4, 3, {3}), true, "it died");
  EXPECT_EQ(loss.results_lost, 1u);
}

TEST_F(IsolatedRescueTest, WhatIsKeptIsNotAtRisk) {
  wire::CrashSnapshot seen = page(4, 3, {3});
  EXPECT_EQ(dispatch_->at_risk(k1, seen), 2u);
  seen.kept = 3;
  EXPECT_EQ(dispatch_->at_risk(k1, seen), 1u);
  // The ring has room for so many, and no more.
  seen = page(2000, 1999);
  seen.kept = 1999;
  EXPECT_EQ(dispatch_->at_risk(k1, seen), 2000 - 2 - wire::kKeptResults);
}

}  // namespace
}  // namespace bulkhead::coordinator
