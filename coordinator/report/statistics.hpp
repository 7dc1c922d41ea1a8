// Medians and their bootstrap intervals. The same values and seed give the same interval on every
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
  std::optional<Interval> interval;
  std::size_t repetitions = 0;
};

double median(std::vector<double> values);  // 0 when empty

// Bootstrap 95 % percentile interval of the median; nothing below kRepetitionsForInterval values.
std::optional<Interval> median_interval(const std::vector<double>& values, std::uint64_t seed);

// median(upper) ÷ median(lower), for values paired by repetition: each resample draws repetitions,
// so that a slow minute that hit both models cancels. Nothing when a lower value is not above 0.
std::optional<Ratio> ratio_of_medians(const std::vector<double>& upper,
                                      const std::vector<double>& lower, std::uint64_t seed);

}  // namespace bulkhead::coordinator
