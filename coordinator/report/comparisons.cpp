#include "report/comparisons.hpp"

#include <algorithm>
#include <array>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "report/facts.hpp"
#include "report/statistics.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr double kTellingDifference = 0.05;

// Of the repetitions that both completed: repetition i of one ran beside repetition i of the other.
std::optional<Ratio> ratio_of(bool latencies, const v1::ModelReport& upper,
                              const v1::ModelReport& lower) {
  std::vector<double> above;
  std::vector<double> below;
  const int pairs = std::min(upper.repetitions_size(), lower.repetitions_size());
  for (int i = 0; i < pairs; ++i) {
    const v1::Repetition& one = upper.repetitions(i);
    const v1::Repetition& other = lower.repetitions(i);
    if (!one.complete() || !other.complete()) continue;
    if (!latencies) {
      above.push_back(one.wall_seconds());
      below.push_back(other.wall_seconds());
    } else if (one.has_latency_median_seconds() && other.has_latency_median_seconds()) {
      above.push_back(one.latency_median_seconds());
      below.push_back(other.latency_median_seconds());
    }
  }
  return paired_ratio(above, below);
}

std::optional<v1::Comparison> compare(const v1::RunReport& report, const v1::ModelReport& upper,
                                      const v1::ModelReport& lower) {
  const bool latencies = is_open_loop(report);
  const std::optional<Ratio> ratio = ratio_of(latencies, upper, lower);
  if (!ratio) return std::nullopt;
  v1::Comparison comparison;
  comparison.set_measure(latencies ? kLatencyMeasure : kWallMeasure);
  comparison.set_upper(label(report, upper));
  comparison.set_lower(label(report, lower));
  comparison.set_ratio(ratio->ratio);
  comparison.set_repetitions(static_cast<std::uint32_t>(ratio->repetitions));
  if (ratio->interval) {
    comparison.set_low(ratio->interval->low);
    comparison.set_high(ratio->interval->high);
    comparison.set_told_apart(told_apart(*ratio));
  }
  if (const auto needed = repetitions_to_tell(*ratio, kTellingDifference)) {
    comparison.set_repetitions_for_five_percent(*needed);
  }
  return comparison;
}

}  // namespace

const v1::ModelReport* baseline_of(const v1::RunReport& report, bool measured) {
  constexpr std::array<std::string_view, 4> kOrder{"parallel", "threads", "concurrent",
                                                   "sequential"};
  for (const std::string_view name : kOrder) {
    for (const v1::ModelReport& model : report.models()) {
      if (!model.side().empty()) continue;
      if (model.model() == name && (!measured || is_measured(model))) return &model;
    }
  }
  return nullptr;
}

const v1::ModelReport* first_side(const v1::RunReport& report, const v1::ModelReport& model) {
  if (model.side().empty()) return nullptr;
  for (const v1::ModelReport& other : report.models()) {
    if (other.side().empty() && other.model() == model.model() &&
        other.transport() == model.transport()) {
      return &other;
    }
  }
  return nullptr;
}

void compare_rows(v1::RunReport& report) {
  std::vector<v1::Comparison> found;
  const auto add = [&](const v1::ModelReport& upper, const v1::ModelReport* lower) {
    if (lower == nullptr || !is_measured(upper) || !is_measured(*lower)) return;
    if (auto comparison = compare(report, upper, *lower)) found.push_back(std::move(*comparison));
  };
  const v1::ModelReport* const baseline = baseline_of(report, true);
  for (const v1::ModelReport& model : report.models()) {
    if (!model.side().empty()) {
      add(model, first_side(report, model));
    } else if (is_isolated(model)) {
      add(model, baseline);
    }
  }
  report.clear_comparisons();
  for (v1::Comparison& comparison : found) *report.add_comparisons() = std::move(comparison);
}

const v1::Comparison* find_comparison(const v1::RunReport& report, const v1::ModelReport& upper,
                                      const v1::ModelReport& lower) {
  const std::string above = label(report, upper);
  const std::string below = label(report, lower);
  for (const v1::Comparison& comparison : report.comparisons()) {
    if (comparison.upper() == above && comparison.lower() == below) return &comparison;
  }
  return nullptr;
}

}  // namespace bulkhead::coordinator
