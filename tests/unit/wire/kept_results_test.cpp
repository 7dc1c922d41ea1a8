#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bulkhead/wire/crash_page.hpp>
#include <memory>
#include <string>
#include <thread>
#include <vector>

namespace bulkhead::wire {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class KeptResultsTest : public ::testing::Test {
 protected:
  KeptResultsTest() : mapping_(std::move(*CrashPageMapping::create())), page_(*mapping_.page()) {
    page_.slots = 1;
    page_.slot[0].started = page_.slot[0].finished = 1'000'000;
  }
  CrashPageMapping mapping_;
  CrashPage& page_;
};

TEST_F(KeptResultsTest, ANewPageKeepsNothing) {
  EXPECT_THAT(kept_results(page_), IsEmpty());
  EXPECT_EQ(mapping_.snapshot().kept, 0u);
}

TEST_F(KeptResultsTest, WhatIsKeptIsThereUpToItsLimit) {
  const std::string largest(kKeptBytes, 'x');
  keep_result(page_, "one");
  keep_result(page_, "");
  keep_result(page_, largest);
  keep_result(page_, largest + "x");
  EXPECT_THAT(kept_results(page_), ElementsAre("one", largest));
  EXPECT_EQ(mapping_.snapshot().kept, 2u);
}

TEST_F(KeptResultsTest, TheNewestStayWhenTheRingIsFull) {
  for (std::size_t i = 0; i < kKeptResults + 10; ++i) keep_result(page_, std::to_string(i));
  const std::vector<std::string> kept = kept_results(page_);
  ASSERT_EQ(kept.size(), kKeptResults);
  for (const std::string& text : kept) EXPECT_GE(std::stoul(text), 10u);
}

TEST_F(KeptResultsTest, WhatAWriterWasInTheMiddleOfIsNotThere) {
  keep_result(page_, "whole");
  page_.kept[1].busy = 1;  // as if it had died before its size
  page_.kept[1].bytes.fill('?');
  keep_result(page_, "its place is taken: not kept");
  keep_result(page_, "next");
  EXPECT_THAT(kept_results(page_), ElementsAre("whole", "next"));
  EXPECT_EQ(mapping_.snapshot().kept, 2u);
}

TEST_F(KeptResultsTest, SizesAndCountsFromAnUntrustedPageAreBounded) {
  page_.kept[0].size = ~0u;
  page_.kept_count = ~0ull;
  const std::vector<std::string> kept = kept_results(page_);
  ASSERT_EQ(kept.size(), 1u);
  EXPECT_EQ(kept[0].size(), kKeptBytes);
  EXPECT_EQ(mapping_.snapshot().kept, mapping_.snapshot().finished);
}

TEST_F(KeptResultsTest, ThreadsThatKeepAtOnceMixNothing) {
  constexpr std::size_t kThreads = 4, kEach = 20'000;
  std::vector<std::thread> threads;
  for (std::size_t i = 0; i < kThreads; ++i) {
    threads.emplace_back([this, i] {
      const std::string text(100 + i, static_cast<char>('a' + i));
      for (std::size_t n = 0; n < kEach; ++n) keep_result(page_, text);
    });
  }
  for (std::thread& thread : threads) thread.join();
  const std::vector<std::string> kept = kept_results(page_);
  EXPECT_EQ(kept.size(), kKeptResults);
  for (const std::string& text : kept) {
    ASSERT_FALSE(text.empty());
    EXPECT_EQ(text, std::string(100 + static_cast<std::size_t>(text[0] - 'a'), text[0]));
  }
  EXPECT_LE(mapping_.snapshot().kept, kThreads * kEach);
}

}  // namespace
}  // namespace bulkhead::wire
