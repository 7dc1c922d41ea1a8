// What is known of every job, and its results in memory and beyond it.
#include "dispatch/ledger.hpp"

#include <gtest/gtest.h>

namespace bulkhead::coordinator {
namespace {

Ledger make_ledger(std::uint32_t max_attempts = 3) {
  return Ledger(max_attempts, ResultStore(testing::TempDir(), 1 << 20));
}

TEST(LedgerTest, GrowsButNeverShrinks) {
  Ledger ledger = make_ledger();
  EXPECT_EQ(ledger.size(), 0u);
  EXPECT_FALSE(ledger.is_final(0));
  ledger.grow(3);
  ledger.grow(1);
  EXPECT_EQ(ledger.size(), 3u);
  EXPECT_EQ(ledger.at(2).state, JobState::kOpen);
  EXPECT_FALSE(ledger.is_final(2));
  EXPECT_FALSE(ledger.is_final(3));
}

TEST(LedgerTest, EachJobEndsInOneWayAndIsCountedOnce) {
  Ledger ledger = make_ledger(2);
  ledger.grow(5);
  ledger.done(0, "result");
  ledger.done_without_bytes(1);
  EXPECT_FALSE(ledger.threw(2, "first"));
  EXPECT_TRUE(ledger.threw(2, "second"));
  EXPECT_FALSE(ledger.blame(3, "first"));
  EXPECT_TRUE(ledger.blame(3, "second"));
  EXPECT_EQ(ledger.at(0).state, JobState::kDone);
  EXPECT_EQ(ledger.at(1).state, JobState::kDone);
  EXPECT_EQ(ledger.at(2).state, JobState::kFailed);
  EXPECT_EQ(ledger.at(2).failures, 2u);
  EXPECT_EQ(ledger.at(3).state, JobState::kQuarantined);
  EXPECT_EQ(ledger.at(3).blames, 2u);
  EXPECT_EQ(ledger.counts().done, 2u);
  EXPECT_EQ(ledger.counts().failed, 1u);
  EXPECT_EQ(ledger.counts().quarantined, 1u);
  EXPECT_EQ(ledger.final_count(), 4u);
  EXPECT_EQ(*ledger.store().get(0), "result");
  EXPECT_FALSE(ledger.store().has(1));
  ASSERT_EQ(ledger.notes().size(), 2u);
  EXPECT_EQ(ledger.notes()[0].job, 2u);
  EXPECT_EQ(ledger.notes()[0].reason, "second");
  EXPECT_EQ(ledger.notes()[1].job, 3u);
  EXPECT_EQ(ledger.notes()[1].reason, "second");
}

TEST(LedgerTest, BlamesAndFailuresAreCountedApart) {
  Ledger ledger = make_ledger(3);
  ledger.grow(1);
  EXPECT_FALSE(ledger.threw(0, ""));
  EXPECT_FALSE(ledger.blame(0, ""));
  EXPECT_FALSE(ledger.threw(0, ""));
  EXPECT_FALSE(ledger.is_suspect(0));
  EXPECT_FALSE(ledger.blame(0, ""));
  EXPECT_TRUE(ledger.is_suspect(0)) << "from its second death on";
  EXPECT_TRUE(ledger.blame(0, ""));
  EXPECT_FALSE(ledger.is_suspect(0)) << "final";
}

TEST(LedgerTest, AFinalJobNeverChangesAgain) {
  Ledger ledger = make_ledger(1);
  ledger.grow(3);
  ledger.done(0, "");
  ledger.threw(1, "");
  ledger.blame(2, "");
  for (std::uint64_t job = 0; job < 3; ++job) {
    EXPECT_DEATH(ledger.done(job, ""), "job " + std::to_string(job) + " of 3");
    EXPECT_DEATH(ledger.threw(job, ""), "job " + std::to_string(job) + " of 3");
    EXPECT_DEATH(ledger.blame(job, ""), "job " + std::to_string(job) + " of 3");
  }
  EXPECT_DEATH(ledger.done(3, ""), "job 3 of 3");
}

TEST(LedgerTest, NotesAreCappedAndCountsAreNot) {
  Ledger ledger = make_ledger(1);
  ledger.grow(1000);
  for (std::uint64_t job = 0; job < 1000; ++job) ledger.blame(job, "gone");
  EXPECT_EQ(ledger.notes().size(), 100u);
  EXPECT_EQ(ledger.notes().back().job, 99u);
  EXPECT_EQ(ledger.counts().quarantined, 1000u);
}

TEST(LedgerTest, AWorkersCountOfFailuresIsBounded) {
  Ledger ledger = make_ledger();
  ledger.grow(1);
  ledger.failed(0, 4'000'000'000u, "hostile");
  EXPECT_EQ(ledger.at(0).failures, 65535u);
}

}  // namespace
}  // namespace bulkhead::coordinator
