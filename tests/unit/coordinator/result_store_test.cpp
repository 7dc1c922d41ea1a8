// Results in memory up to a limit, beyond it in a file that nobody can find.
#include "dispatch/result_store.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <random>
#include <vector>

namespace bulkhead::coordinator {
namespace {

class ResultStoreTest : public testing::Test {
 protected:
  ResultStoreTest() {
    directory_ = testing::TempDir() + "results-XXXXXX";
    EXPECT_NE(mkdtemp(directory_.data()), nullptr);
  }
  ~ResultStoreTest() override {
    EXPECT_TRUE(std::filesystem::is_empty(directory_)) << "the file is unlinked at once";
    std::filesystem::remove_all(directory_);
  }
  std::string directory_;
};

TEST_F(ResultStoreTest, KeepsInMemoryUpToTheLimit) {
  ResultStore store(directory_, 30);
  store.put(5, "12345");
  store.put(0, "67890");
  EXPECT_EQ(store.spilled_bytes(), 0u);
  EXPECT_EQ(*store.get(5), "12345");
  EXPECT_EQ(*store.get(0), "67890");
  EXPECT_FALSE(store.has(1));
  EXPECT_FALSE(store.has(6));
}

TEST_F(ResultStoreTest, SpillsBeyondTheLimitAndReadsBack) {
  ResultStore store(directory_, 1000);
  std::mt19937 random(7);
  std::vector<std::string> expected(500);
  std::size_t total = 0;
  for (std::size_t job = 0; job < expected.size(); ++job) {
    expected[job].resize(random() % 200);
    for (char& c : expected[job]) c = static_cast<char>(random());
    total += expected[job].size();
    store.put(job, expected[job]);
  }
  EXPECT_GE(store.spilled_bytes(), total - 1000);
  for (std::size_t job = expected.size(); job-- > 0;) {
    const auto bytes = store.get(job);
    ASSERT_TRUE(bytes) << bytes.error().text;
    EXPECT_EQ(*bytes, expected[job]) << job;
  }
}

TEST_F(ResultStoreTest, ALargeResultSpillsAndSmallOnesStillFitInMemory) {
  ResultStore store(directory_, 100);
  store.put(0, std::string(1 << 20, 'x'));
  const std::uint64_t spilled = store.spilled_bytes();
  EXPECT_GE(spilled, 1u << 20);
  store.put(1, "small");
  EXPECT_EQ(store.spilled_bytes(), spilled);
  EXPECT_EQ(*store.get(1), "small");
  EXPECT_EQ(store.get(0)->size(), 1u << 20);
}

TEST_F(ResultStoreTest, ManyResultsInAnyOrderWithGapsAndReadTwice) {
  constexpr std::uint64_t kJobs = 5000;  // several complete blocks, and one with a gap
  const auto result_of = [](std::uint64_t job) {
    return std::string(job % 97, static_cast<char>('a' + job % 26));
  };
  std::vector<std::uint64_t> order(kJobs);
  std::iota(order.begin(), order.end(), 0);
  std::shuffle(order.begin(), order.end(), std::mt19937(11));
  ResultStore store(directory_, 10'000);
  for (const std::uint64_t job : order) {
    if (job == 1500) continue;  // it failed
    EXPECT_FALSE(store.has(job));
    store.put(job, result_of(job));
    EXPECT_TRUE(store.has(job));
  }
  EXPECT_FALSE(store.has(1500));
  EXPECT_FALSE(store.has(kJobs));
  EXPECT_DEATH(store.put(0, ""), "job 0 has a result already");
  for (int time = 0; time < 2; ++time) {
    for (std::uint64_t job = 0; job < kJobs; ++job) {
      if (job == 1500) continue;
      const auto bytes = store.get(job);
      ASSERT_TRUE(bytes) << bytes.error().text;
      ASSERT_EQ(*bytes, result_of(job)) << job;
    }
  }
}

TEST_F(ResultStoreTest, AnEmptyResultIsAResult) {
  ResultStore store(directory_, 0);
  store.put(0, "");
  EXPECT_TRUE(store.has(0));
  EXPECT_EQ(*store.get(0), "");
}

TEST_F(ResultStoreTest, WithoutRoomOnDiskResultsStayInMemory) {
  ResultStore store(directory_ + "/missing", 4);
  store.put(0, "beyond the limit");
  store.put(1, "and more");
  EXPECT_EQ(store.spilled_bytes(), 0u);
  EXPECT_EQ(*store.get(0), "beyond the limit");
  EXPECT_EQ(*store.get(1), "and more");
}

TEST_F(ResultStoreTest, ASecondResultOfAJobIsRefused) {
  ResultStore store(directory_, 100);
  store.put(0, "");
  EXPECT_DEATH(store.put(0, ""), "job 0 has a result already");
  EXPECT_DEATH(static_cast<void>(store.get(1)), "job 1 has no result");
}

}  // namespace
}  // namespace bulkhead::coordinator
