#include "report/statistics.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kResamples = 2000;
constexpr double kConfidence = 0.95;
constexpr double kStudent = 2.776445;           // 97.5 % quantile, 4 degrees of freedom
constexpr double kNormal = 1.959964;            // 97.5 % quantile
constexpr double kNormalFourOfFive = 0.841621;  // 80 % quantile

// Uniform in [0, bound), without the bias of a bare remainder. std::uniform_int_distribution may
// draw differently in every standard library.
std::size_t draw(std::mt19937_64& generator, std::size_t bound) {
  constexpr std::uint64_t kLargest = std::numeric_limits<std::uint64_t>::max();
  const std::uint64_t usable = kLargest - kLargest % bound;
  std::uint64_t value = generator();
  while (value >= usable) value = generator();
  return static_cast<std::size_t>(value % bound);
}

// `statistic` is asked with the drawn repetitions, kResamples times.
template <class Statistic>
Interval bootstrap(std::size_t repetitions, std::uint64_t seed, Statistic statistic) {
  std::mt19937_64 generator(seed);
  std::vector<std::size_t> drawn(repetitions);
  std::vector<double> found;
  found.reserve(kResamples);
  for (std::size_t i = 0; i < kResamples; ++i) {
    for (std::size_t& index : drawn) index = draw(generator, repetitions);
    found.push_back(statistic(drawn));
  }
  std::sort(found.begin(), found.end());
  constexpr std::size_t kTail = kResamples / 40;  // 2.5 %
  return {found[kTail - 1], found[kResamples - kTail]};
}

double median_of(const std::vector<double>& values, const std::vector<std::size_t>& drawn) {
  std::vector<double> picked;
  picked.reserve(drawn.size());
  for (const std::size_t index : drawn) picked.push_back(values[index]);
  return median(std::move(picked));
}

// Of kRepetitionsForInterval values: their mean, and what their spread says of it.
Interval student(const std::vector<double>& values) {
  const auto count = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / count;
  double squares = 0;
  for (const double value : values) squares += (value - mean) * (value - mean);
  const double half_width = kStudent * std::sqrt(squares / (count - 1) / count);
  return {mean - half_width, mean + half_width};
}

// Of sorted values, at least 6. The median lies between the k-th value from either end unless fewer
// than k of them lie on one side of it: a binomial law, whatever the values' own. That gives a
// confidence above 95 % for one k and below it for the next; the interval is in between.
Interval order_statistics(const std::vector<double>& sorted) {
  const std::size_t size = sorted.size();
  const auto count = static_cast<double>(size);
  // Of exactly i values below the median. By logarithms: 2^-n alone is 0 from 1075 values up.
  const auto probability = [&](double i) {
    return std::exp(std::lgamma(count + 1) - std::lgamma(i + 1) - std::lgamma(count - i + 1) -
                    count * std::log(2));
  };
  std::size_t k = 0;
  double confidence = 1;  // of the k-th
  double next = 1 - 2 * probability(0);
  while (next >= kConfidence) {
    ++k;
    confidence = next;
    next -= 2 * probability(static_cast<double>(k));
  }
  BULKHEAD_CHECK(k >= 1 && size >= 2 * k + 2, "no interval of {} values", size);
  const double rank = static_cast<double>(k);
  const double share = (confidence - kConfidence) / (confidence - next);
  const double inner = (count - rank) * share / (rank + (count - 2 * rank) * share);
  return {(1 - inner) * sorted[k - 1] + inner * sorted[k],
          (1 - inner) * sorted[size - k] + inner * sorted[size - k - 1]};
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const std::size_t middle = values.size() / 2;
  if (values.size() % 2 == 1) return values[middle];
  return values[middle - 1] / 2 + values[middle] / 2;
}

std::optional<Interval> median_interval(const std::vector<double>& values, std::uint64_t seed) {
  if (values.size() < kRepetitionsForInterval) return std::nullopt;
  return bootstrap(values.size(), seed,
                   [&](const std::vector<std::size_t>& drawn) { return median_of(values, drawn); });
}

std::optional<Ratio> paired_ratio(const std::vector<double>& upper,
                                  const std::vector<double>& lower) {
  BULKHEAD_CHECK(upper.size() == lower.size(), "{} and {} values are no pairs", upper.size(),
                 lower.size());
  if (upper.empty()) return std::nullopt;
  // Of logarithms, so that upper ÷ lower and lower ÷ upper have the same interval, turned over.
  std::vector<double> logs;
  logs.reserve(upper.size());
  for (std::size_t i = 0; i < upper.size(); ++i) {
    if (!(upper[i] > 0) || !(lower[i] > 0)) return std::nullopt;
    logs.push_back(std::log(upper[i] / lower[i]));
  }
  std::sort(logs.begin(), logs.end());
  Ratio result{std::exp(median(logs)), std::nullopt, logs.size()};
  if (logs.size() >= kRepetitionsForInterval) {
    const Interval interval =
        logs.size() == kRepetitionsForInterval ? student(logs) : order_statistics(logs);
    result.interval = Interval{std::exp(interval.low), std::exp(interval.high)};
  }
  return result;
}

bool told_apart(const Ratio& ratio) {
  return ratio.interval && (ratio.interval->low > 1 || ratio.interval->high < 1);
}

std::optional<double> repetitions_to_tell(const Ratio& ratio, double difference) {
  if (!ratio.interval) return std::nullopt;
  const double half_width = std::log(ratio.interval->high / ratio.interval->low) / 2;
  const double error =
      half_width / (ratio.repetitions == kRepetitionsForInterval ? kStudent : kNormal);
  const double wanted = std::log(1 + difference) / (kNormal + kNormalFourOfFive);
  const double needed = static_cast<double>(ratio.repetitions) * std::pow(error / wanted, 2);
  return std::max(std::ceil(needed), static_cast<double>(kRepetitionsForInterval));
}

}  // namespace bulkhead::coordinator
