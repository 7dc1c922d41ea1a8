#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "report/histogram.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::uint64_t kSpreadSeed = 20240917;
constexpr double kFractions[] = {0.001, 0.01, 0.1, 0.25, 0.5, 0.75, 0.9, 0.99, 0.999, 0.9999};

double unit(std::mt19937_64& generator) {
  return static_cast<double>(generator() >> 11) * 0x1.0p-53;
}

// Spread evenly over the decades from 100 ns to 10^6 s.
std::vector<double> spread(std::size_t count, std::uint64_t seed) {
  std::mt19937_64 generator(seed);
  std::vector<double> values;
  for (std::size_t i = 0; i < count; ++i) {
    values.push_back(std::pow(10.0, -7 + 13 * unit(generator)));
  }
  return values;
}

double exact(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double rank = std::ceil(fraction * static_cast<double>(values.size()));
  return values[static_cast<std::size_t>(std::max(1.0, rank)) - 1];
}

TEST(HistogramTest, PercentilesAreWithinOnePercentOfTheExactOnes) {
  for (const std::size_t count :
       {std::size_t{1}, std::size_t{7}, std::size_t{1000}, std::size_t{50000}}) {
    const std::vector<double> values = spread(count, kSpreadSeed + count);
    Histogram histogram;
    for (const double value : values) histogram.record(value);
    EXPECT_EQ(histogram.count(), count);
    for (const double fraction : kFractions) {
      const double truth = exact(values, fraction);
      EXPECT_NEAR(histogram.percentile(fraction), truth, truth * 0.01)
          << count << " values, fraction " << fraction << ", seed " << kSpreadSeed;
    }
    EXPECT_EQ(histogram.percentile(0), exact(values, 0));
    EXPECT_EQ(histogram.percentile(1), exact(values, 1));
    EXPECT_EQ(histogram.max(), exact(values, 1));
  }
}

TEST(HistogramTest, EveryValueIsKeptWithinOnePercentAtTheEdgesOfBuckets) {
  for (int power = 7; power < 50; ++power) {
    for (const double offset : {-1.0, 0.0, 1.0}) {
      const double value = (std::ldexp(1.0, power) + offset) * 1e-9;
      Histogram histogram;
      histogram.record(value / 4);  // so that neither end of the range is the answer
      histogram.record(value);
      histogram.record(std::min(value * 4, 1e6));
      EXPECT_NEAR(histogram.percentile(0.5), value, value * 0.01) << "2^" << power << " " << offset;
    }
  }
}

TEST(HistogramTest, ResolvesSingleNanoseconds) {
  Histogram histogram;
  for (int i = 1; i <= 100; ++i) histogram.record(i * 1e-9);
  EXPECT_NEAR(histogram.percentile(0.01), 1e-9, 1e-12);
  EXPECT_NEAR(histogram.percentile(0.02), 2e-9, 1e-12);
  EXPECT_NEAR(histogram.percentile(0.5), 50e-9, 1e-12);
}

TEST(HistogramTest, MergeEqualsRecordingEverythingInOne) {
  Histogram one;
  Histogram two;
  Histogram both;
  for (const double value : spread(1000, kSpreadSeed)) {
    one.record(value);
    both.record(value);
  }
  for (const double value : spread(3000, kSpreadSeed + 1)) {
    two.record(value);
    both.record(value);
  }
  one.merge(two);
  EXPECT_EQ(one.count(), both.count());
  EXPECT_EQ(one.max(), both.max());
  for (const double fraction : kFractions) {
    EXPECT_EQ(one.percentile(fraction), both.percentile(fraction)) << fraction;
  }
  EXPECT_EQ(one.percentile(0), both.percentile(0));
}

TEST(HistogramTest, MergeWithAnEmptyOneOrWithItself) {
  Histogram histogram;
  histogram.merge(Histogram{});
  EXPECT_EQ(histogram.count(), 0u);
  histogram.record(0.5);
  histogram.merge(Histogram{});
  EXPECT_EQ(histogram.count(), 1u);
  Histogram other;
  other.merge(histogram);
  EXPECT_EQ(other.percentile(0), 0.5);
  other.merge(other);
  EXPECT_EQ(other.count(), 2u);
  EXPECT_EQ(other.percentile(0.5), 0.5);
}

TEST(HistogramTest, APercentileNeedsTenValuesBeyondIt) {
  Histogram histogram;
  for (int i = 1; i <= 10000; ++i) {
    histogram.record(i * 1e-6);
    EXPECT_EQ(histogram.supports(0.9), i >= 100) << i;
    EXPECT_EQ(histogram.supports(0.99), i >= 1000) << i;
    EXPECT_EQ(histogram.supports(0.999), i >= 10000) << i;
  }
  EXPECT_FALSE(Histogram().supports(0.5));
}

TEST(HistogramTest, OutOfRangeValuesCountAtTheEnds) {
  Histogram empty;
  EXPECT_EQ(empty.percentile(0.5), 0);
  EXPECT_EQ(empty.max(), 0);
  Histogram histogram;
  histogram.record(-1);
  histogram.record(std::numeric_limits<double>::quiet_NaN());
  histogram.record(1e300);
  EXPECT_EQ(histogram.count(), 3u);
  EXPECT_EQ(histogram.percentile(0.5), 0);
  EXPECT_EQ(histogram.max(), 1e6);
}

}  // namespace
}  // namespace bulkhead::coordinator
