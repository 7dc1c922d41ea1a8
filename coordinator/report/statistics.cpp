#include "report/statistics.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <limits>
#include <random>

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kResamples = 2000;

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

std::optional<Ratio> ratio_of_medians(const std::vector<double>& upper,
                                      const std::vector<double>& lower, std::uint64_t seed) {
  BULKHEAD_CHECK(upper.size() == lower.size(), "{} and {} values are no pairs", upper.size(),
                 lower.size());
  if (upper.empty()) return std::nullopt;
  for (const double value : lower) {
    if (!(value > 0)) return std::nullopt;
  }
  Ratio result{median(upper) / median(lower), std::nullopt, upper.size()};
  if (upper.size() >= kRepetitionsForInterval) {
    result.interval = bootstrap(upper.size(), seed, [&](const std::vector<std::size_t>& drawn) {
      return median_of(upper, drawn) / median_of(lower, drawn);
    });
  }
  return result;
}

}  // namespace bulkhead::coordinator
