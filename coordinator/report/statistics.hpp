// Medians, ratios and their intervals. The same values and seed give the same interval on every
// machine: the generator is fixed by the standard and the draws are our own.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

namespace bulkhead::coordinator {

// With fewer repetitions there is no interval, and no word that two models differ.
inline constexpr std::size_t kRepetitionsForInterval = 5;

struct Interval {
  double low = 0;
  double high = 0;
};

struct Ratio {
  double ratio = 0;
  std::optional<Interval> interval;  // 95 %
  std::size_t repetitions = 0;
};

double median(std::vector<double> values);  // 0 when empty

// Bootstrap 95 % percentile interval of the median; nothing below kRepetitionsForInterval values.
std::optional<Interval> median_interval(const std::vector<double>& values, std::uint64_t seed);

// The median of upper[i] ÷ lower[i], for values paired by repetition, and its 95 % interval. A pair
// is measured within seconds, so what hits both sides (a slow minute, a drift over the hour) is
// gone before anything is averaged, and a spell that hits one side spoils one pair and no more.
//
// From 6 pairs up the interval is between order statistics of the ratios, interpolated to 95 %
// (Hettmansperger and Sheather, "Confidence intervals based on interpolated order statistics",
// Statistics & Probability Letters 4, 1986): it asks nothing of the noise but that its ups and
// downs are equally likely within a pair. No two order statistics of 5 values reach 95 %: there it
// is Student's, of the logarithms. report_coverage_test.cpp holds how often both are right.
//
// Nothing for no pairs, or when a value is not above 0.
std::optional<Ratio> paired_ratio(const std::vector<double>& upper,
                                  const std::vector<double>& lower);

bool told_apart(const Ratio& ratio);  // there is an interval and it excludes 1

// About how many repetitions would tell a true ratio of 1 + `difference` in four tries of five,
// from the width of the interval; nothing without one. At least kRepetitionsForInterval.
std::optional<double> repetitions_to_tell(const Ratio& ratio, double difference);

}  // namespace bulkhead::coordinator
