#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "report/statistics.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

// Uniform in [0, 1), the same on every machine.
double drawn(std::mt19937_64& generator) {
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
  const auto ratio = paired_ratio({2, 2, 2, 2}, {1, 1, 1, 1});
  ASSERT_TRUE(ratio);
  EXPECT_NEAR(ratio->ratio, 2, 1e-9);
  EXPECT_FALSE(ratio->interval);
  EXPECT_FALSE(told_apart(*ratio));
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
  for (int i = 0; i < 31; ++i) values.push_back(drawn(generator));
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
    for (int i = 0; i < 15; ++i) values.push_back(drawn(generator));
    const auto interval = median_interval(values, trial);
    ASSERT_TRUE(interval);
    if (interval->low <= 0.5 && interval->high >= 0.5) ++covered;
  }
  EXPECT_GE(covered, kTrials * 88 / 100);
  EXPECT_LT(covered, kTrials);
}

TEST(StatisticsTest, PairingCancelsWhatHitBothModels) {
  // Each repetition is slower than the one before, for both: the ratio is 2 in all of them.
  for (const std::size_t pairs : {5u, 6u, 12u}) {
    std::vector<double> upper;
    std::vector<double> lower;
    for (std::size_t i = 0; i < pairs; ++i) {
      lower.push_back(std::ldexp(1.0, static_cast<int>(i)));
      upper.push_back(2 * lower.back());
    }
    const auto ratio = paired_ratio(upper, lower);
    ASSERT_TRUE(ratio && ratio->interval) << pairs;
    EXPECT_NEAR(ratio->ratio, 2, 1e-9) << pairs;
    EXPECT_NEAR(ratio->interval->low, 2, 1e-9) << pairs;
    EXPECT_NEAR(ratio->interval->high, 2, 1e-9) << pairs;
    EXPECT_TRUE(told_apart(*ratio)) << pairs;
  }
}

TEST(StatisticsTest, FivePairsHaveStudentsIntervalOfTheirLogarithms) {
  // Logarithms -2 to 2: mean 0, standard error 1 / sqrt(2), 97.5 % quantile 2.776.
  std::vector<double> upper;
  for (const double value : {1.0, -2.0, 0.0, 2.0, -1.0}) upper.push_back(std::exp(value));
  const auto ratio = paired_ratio(upper, std::vector<double>(5, 1));
  ASSERT_TRUE(ratio && ratio->interval);
  EXPECT_NEAR(std::log(ratio->ratio), 0, 1e-9);
  EXPECT_NEAR(std::log(ratio->interval->low), -1.963243, 1e-5);
  EXPECT_NEAR(std::log(ratio->interval->high), 1.963243, 1e-5);
  EXPECT_FALSE(told_apart(*ratio));
}

TEST(StatisticsTest, MorePairsHaveAnIntervalBetweenOrderStatistics) {
  // Of ten, the 2nd from either end has 97.9 %, the 3rd 89.1 %: Hettmansperger and Sheather's
  // weight of the 3rd is 8 × 0.324 / (2 + 6 × 0.324) = 0.658.
  std::vector<double> upper;
  for (const int value : {3, 9, 1, 7, 5, 10, 2, 8, 6, 4}) upper.push_back(std::exp(value));
  const auto ratio = paired_ratio(upper, std::vector<double>(10, 1));
  ASSERT_TRUE(ratio && ratio->interval);
  EXPECT_NEAR(std::log(ratio->ratio), 5.5, 1e-9);
  EXPECT_NEAR(std::log(ratio->interval->low), 2.658, 1e-3);
  EXPECT_NEAR(std::log(ratio->interval->high), 8.342, 1e-3);
  EXPECT_TRUE(told_apart(*ratio));
}

TEST(StatisticsTest, TurnedOverTheRatioHasTheSameIntervalTurnedOver) {
  std::mt19937_64 generator(7);
  for (const std::size_t pairs : {5u, 6u, 7u, 20u, 1000u, 2000u}) {
    std::vector<double> one;
    std::vector<double> two;
    for (std::size_t i = 0; i < pairs; ++i) {
      one.push_back(1 + drawn(generator));
      two.push_back(1.5 + drawn(generator));
    }
    const auto up = paired_ratio(one, two);
    const auto down = paired_ratio(two, one);
    ASSERT_TRUE(up && down && up->interval && down->interval) << pairs;
    EXPECT_NEAR(up->ratio * down->ratio, 1, 1e-9) << pairs;
    EXPECT_NEAR(up->interval->low * down->interval->high, 1, 1e-9) << pairs;
    EXPECT_LT(up->interval->low, up->ratio) << pairs;
    EXPECT_GT(up->interval->high, up->ratio) << pairs;
  }
}

TEST(StatisticsTest, NoRatioOverZeroOrOverNothing) {
  EXPECT_FALSE(paired_ratio({1, 1}, {1, 0}));
  EXPECT_FALSE(paired_ratio({0, 1}, {1, 1}));
  EXPECT_FALSE(paired_ratio({}, {}));
}

TEST(StatisticsTest, HalfTheWidthNeedsAQuarterOfTheRepetitions) {
  const Ratio wide{1, Interval{1 / 1.2, 1.2}, 20};
  const Ratio narrow{1, Interval{1 / std::sqrt(1.2), std::sqrt(1.2)}, 20};
  const auto many = repetitions_to_tell(wide, 0.05);
  const auto few = repetitions_to_tell(narrow, 0.05);
  ASSERT_TRUE(many && few);
  EXPECT_NEAR(*many / *few, 4, 0.1);
  EXPECT_EQ(repetitions_to_tell({1, Interval{1, 1}, 20}, 0.05), 5);
  EXPECT_FALSE(repetitions_to_tell({1, std::nullopt, 4}, 0.05));
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
