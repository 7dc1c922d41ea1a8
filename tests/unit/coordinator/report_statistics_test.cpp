#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <vector>

#include "report/statistics.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

// Uniform in [0, 1), the same on every machine.
double unit(std::mt19937_64& generator) {
  return static_cast<double>(generator() >> 11) * 0x1.0p-53;
}

TEST(StatisticsTest, MedianIsTheMiddleOrTheMeanOfTheTwoMiddles) {
  EXPECT_EQ(median({}), 0);
  EXPECT_EQ(median({7}), 7);
  EXPECT_EQ(median({9, 1, 5}), 5);
  EXPECT_EQ(median({4, 1, 3, 2}), 2.5);
}

TEST(StatisticsTest, FewerThanFiveValuesHaveNoInterval) {
  EXPECT_FALSE(median_interval({1, 2, 3, 4}, 1));
  const auto ratio = ratio_of_medians({2, 2, 2, 2}, {1, 1, 1, 1}, 1);
  ASSERT_TRUE(ratio);
  EXPECT_EQ(ratio->ratio, 2);
  EXPECT_FALSE(ratio->interval);
  EXPECT_EQ(ratio->repetitions, 4u);
}

TEST(StatisticsTest, FiveDistinctValuesGiveTheirWholeRange) {
  // The median of a resample of five is the smallest value with probability 0.058, so the 2.5 %
  // tails reach both ends.
  const auto interval = median_interval({3, 1, 5, 2, 4}, 42);
  ASSERT_TRUE(interval);
  EXPECT_EQ(interval->low, 1);
  EXPECT_EQ(interval->high, 5);
}

TEST(StatisticsTest, EqualValuesHaveAnIntervalOfNoWidth) {
  const auto interval = median_interval({2, 2, 2, 2, 2}, 1);
  ASSERT_TRUE(interval);
  EXPECT_EQ(interval->low, 2);
  EXPECT_EQ(interval->high, 2);
}

TEST(StatisticsTest, SameSeedGivesSameInterval) {
  std::mt19937_64 generator(3);
  std::vector<double> values;
  for (int i = 0; i < 31; ++i) values.push_back(unit(generator));
  const auto one = median_interval(values, 99);
  const auto two = median_interval(values, 99);
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->low, two->low);
  EXPECT_EQ(one->high, two->high);
  EXPECT_LT(one->low, median(values));
  EXPECT_GT(one->high, median(values));
}

TEST(StatisticsTest, IntervalsCoverTheTrueMedianAboutAsOftenAsTheySay) {
  std::mt19937_64 generator(5);
  int covered = 0;
  constexpr int kTrials = 200;
  for (std::uint64_t trial = 0; trial < kTrials; ++trial) {
    std::vector<double> values;
    for (int i = 0; i < 15; ++i) values.push_back(unit(generator));
    const auto interval = median_interval(values, trial);
    ASSERT_TRUE(interval);
    if (interval->low <= 0.5 && interval->high >= 0.5) ++covered;
  }
  EXPECT_GE(covered, kTrials * 88 / 100);
  EXPECT_LT(covered, kTrials);
}

TEST(StatisticsTest, TheSameModelTwiceCannotBeToldApart) {
  std::mt19937_64 generator(7);
  int contains = 0;
  constexpr int kTrials = 100;
  for (std::uint64_t trial = 0; trial < kTrials; ++trial) {
    std::vector<double> one;
    std::vector<double> two;
    for (int i = 0; i < 9; ++i) {
      one.push_back(1 + 0.1 * unit(generator));
      two.push_back(1 + 0.1 * unit(generator));
    }
    const auto ratio = ratio_of_medians(one, two, trial);
    ASSERT_TRUE(ratio && ratio->interval);
    if (ratio->interval->low <= 1 && ratio->interval->high >= 1) ++contains;
  }
  EXPECT_GE(contains, kTrials * 88 / 100);
}

TEST(StatisticsTest, PairingCancelsWhatHitBothModels) {
  // Each repetition is slower than the one before, for both: the ratio is 2 in all of them.
  const auto ratio = ratio_of_medians({2, 4, 8, 16, 32}, {1, 2, 4, 8, 16}, 1);
  ASSERT_TRUE(ratio && ratio->interval);
  EXPECT_EQ(ratio->interval->low, 2);
  EXPECT_EQ(ratio->interval->high, 2);
}

TEST(StatisticsTest, NoRatioOverZeroOrOverNothing) {
  EXPECT_FALSE(ratio_of_medians({1, 1}, {1, 0}, 1));
  EXPECT_FALSE(ratio_of_medians({}, {}, 1));
}

TEST(UnitsTest, NumbersHaveThreeDigitsAndAScaledUnit) {
  EXPECT_EQ(duration(0), "0 s");
  EXPECT_EQ(duration(1e-9), "1.00 ns");
  EXPECT_EQ(duration(12.34e-6), "12.3 µs");
  EXPECT_EQ(duration(0.9996), "1.00 s");
  EXPECT_EQ(duration(0.9994), "999 ms");
  EXPECT_EQ(duration(9.996), "10.0 s");
  EXPECT_EQ(duration(99.96), "100 s");
  EXPECT_EQ(duration(4321), "4,321 s");
  EXPECT_EQ(duration_interval(0.0123, 0.0125, 0.0124), "12.3–12.5");
  EXPECT_EQ(size(0), "0 B");
  EXPECT_EQ(size(1536), "1.50 KiB");
  EXPECT_EQ(size(13.2 * 1024 * 1024), "13.2 MiB");
  EXPECT_EQ(whole(0), "0");
  EXPECT_EQ(whole(999), "999");
  EXPECT_EQ(whole(1000), "1,000");
  EXPECT_EQ(whole(1234567), "1,234,567");
  EXPECT_EQ(whole(-123), "-123");
  EXPECT_EQ(counted(1, "job"), "1 job");
  EXPECT_EQ(counted(12345, "crash"), "12,345 crashes");
}

TEST(UnitsTest, AMultipleReadsAsOneOnlyWhenItIs) {
  EXPECT_EQ(multiple(1), "1.000");
  EXPECT_EQ(multiple(1.0002), "1.0002");
  EXPECT_EQ(multiple(1.25), "1.250");
}

TEST(UnitsTest, WidthCountsColumnsNotBytes) {
  EXPECT_EQ(display_width("abc"), 3u);
  EXPECT_EQ(display_width("12 µs"), 5u);
  EXPECT_EQ(display_width("e\u0301"), 1u);
  EXPECT_EQ(display_width("漢字"), 4u);
}

TEST(UnitsTest, WrapBreaksBetweenWordsAndKeepsLongOnesWhole) {
  EXPECT_EQ(wrap("one two three", 7, 2), "one two\n  three");
  EXPECT_EQ(wrap("a-long-word b", 4, 0), "a-long-word\nb");
  EXPECT_EQ(wrap("", 10, 0), "");
}

}  // namespace
}  // namespace bulkhead::coordinator
