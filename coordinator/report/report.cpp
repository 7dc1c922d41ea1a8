// Estimates and sums: what follows from the repetitions and exits that the coordinator recorded.
#include "report/report.hpp"

#include <cmath>
#include <functional>
#include <optional>

#include "report/comparisons.hpp"
#include "report/facts.hpp"
#include "report/statistics.hpp"
#include "report/verdict.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr int kNotesMax = 100;

// Values of `read` over complete repetitions, where it has one.
std::vector<double> values_of(
    const v1::ModelReport& model,
    const std::function<std::optional<double>(const v1::Repetition&)>& read) {
  std::vector<double> values;
  for (const v1::Repetition& repetition : model.repetitions()) {
    if (!repetition.complete()) continue;
    const std::optional<double> value = read(repetition);
    if (value && std::isfinite(*value)) values.push_back(*value);
  }
  return values;
}

template <class Message>
void set_estimate(const std::vector<double>& values, std::uint64_t seed, Message& estimate) {
  estimate.set_median(median(values));
  estimate.clear_low();
  estimate.clear_high();
  if (const std::optional<Interval> interval = median_interval(values, seed)) {
    estimate.set_low(interval->low);
    estimate.set_high(interval->high);
  }
}

void estimate(v1::ModelReport& model, std::uint64_t seed) {
  const auto fill = [&](double (v1::Repetition::*read)() const, v1::Estimate& into) {
    set_estimate(values_of(model,
                           [&](const v1::Repetition& repetition) -> std::optional<double> {
                             return (repetition.*read)();
                           }),
                 seed, into);
  };
  if (!is_measured(model)) return;
  fill(&v1::Repetition::wall_seconds, *model.mutable_wall_seconds());
  fill(&v1::Repetition::throughput_per_second, *model.mutable_throughput_per_second());
  fill(&v1::Repetition::cpu_seconds, *model.mutable_cpu_seconds());
  fill(&v1::Repetition::startup_seconds, *model.mutable_startup_seconds());
  fill(&v1::Repetition::voluntary_switches, *model.mutable_voluntary_switches());
  fill(&v1::Repetition::involuntary_switches, *model.mutable_involuntary_switches());
  fill(&v1::Repetition::minor_faults, *model.mutable_minor_faults());
  fill(&v1::Repetition::major_faults, *model.mutable_major_faults());
  v1::Estimate whole;
  fill(&v1::Repetition::messages, whole);
  model.set_messages(whole.median());
  fill(&v1::Repetition::bytes, whole);
  model.set_bytes(whole.median());

  const std::vector<double> pss =
      values_of(model, [](const v1::Repetition& repetition) -> std::optional<double> {
        if (!repetition.has_pss_bytes()) return std::nullopt;
        return repetition.pss_bytes();
      });
  if (!pss.empty()) set_estimate(pss, seed, *model.mutable_pss_bytes());
  const std::vector<double> peak =
      values_of(model, [](const v1::Repetition& repetition) -> std::optional<double> {
        if (!repetition.has_peak_rss_bytes()) return std::nullopt;
        return repetition.peak_rss_bytes();
      });
  if (!peak.empty()) set_estimate(peak, seed, *model.mutable_peak_rss_bytes());
  const auto fill_if_any = [&](double (v1::Repetition::*read)() const,
                               v1::Estimate* (v1::ModelReport::*into)()) {
    const auto any = [read](const v1::Repetition& one) { return (one.*read)() > 0; };
    if (std::any_of(model.repetitions().begin(), model.repetitions().end(), any))
      fill(read, *(model.*into)());
  };
  fill_if_any(&v1::Repetition::lent_seconds, &v1::ModelReport::mutable_lent_seconds);
  fill_if_any(&v1::Repetition::alone_seconds, &v1::ModelReport::mutable_alone_seconds);
}

// Percentiles of all repetitions' jobs together, and the estimate of the repetitions' own medians.
void set_times(const Histogram& histogram, const std::vector<double>& medians, std::uint64_t seed,
               v1::Latency& times) {
  set_percentiles(histogram, times);
  if (medians.empty()) {
    times.set_median(times.p50());
  } else {
    set_estimate(medians, seed, times);
  }
}

void set_service(const Histogram& histogram, std::uint64_t seed, v1::ModelReport& model) {
  if (histogram.count() == 0) return;
  const std::vector<double> medians =
      values_of(model, [](const v1::Repetition& repetition) -> std::optional<double> {
        if (!repetition.has_service_median_seconds()) return std::nullopt;
        return repetition.service_median_seconds();
      });
  set_times(histogram, medians, seed, *model.mutable_service_seconds());
}

void set_latency(const Histogram& histogram, std::uint64_t seed, v1::ModelReport& model) {
  if (histogram.count() == 0) return;
  const std::vector<double> medians =
      values_of(model, [](const v1::Repetition& repetition) -> std::optional<double> {
        if (!repetition.has_latency_median_seconds()) return std::nullopt;
        return repetition.latency_median_seconds();
      });
  set_times(histogram, medians, seed, *model.mutable_latency_seconds());
}

// Sums the repetitions, where the coordinator has not done so.
void sum_jobs(v1::ModelReport& model) {
  if (model.has_jobs()) return;
  v1::Jobs sum;
  bool any = false;
  for (const v1::Repetition& repetition : model.repetitions()) {
    if (!repetition.has_jobs()) continue;
    any = true;
    const v1::Jobs& jobs = repetition.jobs();
    sum.set_total(sum.total() + jobs.total());
    sum.set_done(sum.done() + jobs.done());
    sum.set_failed(sum.failed() + jobs.failed());
    sum.set_quarantined(sum.quarantined() + jobs.quarantined());
    sum.set_retried(sum.retried() + jobs.retried());
    sum.set_lost_in_flight(sum.lost_in_flight() + jobs.lost_in_flight());
    sum.set_results_lost(sum.results_lost() + jobs.results_lost());
    sum.set_duplicates(sum.duplicates() + jobs.duplicates());
    for (const v1::JobNote& note : jobs.notes()) {
      if (sum.notes_size() < kNotesMax) *sum.add_notes() = note;
    }
  }
  if (any) *model.mutable_jobs() = std::move(sum);
}

void sum_exits(v1::ModelReport& model) {
  std::vector<double> radius;
  std::vector<double> detected;
  std::vector<double> recovered;
  std::uint32_t crashes = 0;
  for (const v1::WorkerExit& exit : model.exits()) {
    if (!is_crash(exit)) continue;
    ++crashes;
    if (exit.has_blast_radius()) radius.push_back(exit.blast_radius());
    if (exit.has_detected_after_seconds()) detected.push_back(exit.detected_after_seconds());
    if (exit.has_recovered_after_seconds()) recovered.push_back(exit.recovered_after_seconds());
  }
  model.set_crashes(crashes);
  model.clear_blast_radius();
  model.clear_detected_after_seconds();
  model.clear_recovered_after_seconds();
  if (!radius.empty()) {
    double sum = 0;
    for (const double value : radius) sum += value;
    model.set_blast_radius(sum / static_cast<double>(radius.size()));
  }
  if (!detected.empty()) model.set_detected_after_seconds(median(detected));
  if (!recovered.empty()) model.set_recovered_after_seconds(median(recovered));
}

void compare_answers(v1::RunReport& report) {
  std::string reference;
  for (const v1::ModelReport& model : report.models()) {
    if (reference.empty()) reference = answer_checksum(model);
  }
  for (v1::ModelReport& model : *report.mutable_models()) {
    const std::string given = answer_checksum(model);
    bool equal = !given.empty() && given == reference;
    for (const v1::Repetition& repetition : model.repetitions()) {
      if (!repetition.complete() || repetition.checksum().empty()) continue;
      equal = equal && repetition.checksum() == reference;
    }
    model.set_answer_equal(equal);
  }
}

void set_speedups(v1::RunReport& report) {
  double sequential = 0;
  for (const v1::ModelReport& model : report.models()) {
    if (is_open_loop(report)) break;  // the rate settles the walls
    if (model.model() == "sequential" && is_measured(model)) {
      sequential = model.wall_seconds().median();
      break;
    }
  }
  for (v1::ModelReport& model : *report.mutable_models()) {
    model.clear_speedup();
    if (sequential > 0 && is_measured(model) && model.wall_seconds().median() > 0) {
      model.set_speedup(sequential / model.wall_seconds().median());
    }
  }
}

}  // namespace

void set_percentiles(const Histogram& histogram, v1::Latency& latency) {
  latency.set_p50(histogram.percentile(0.5));
  if (histogram.supports(0.9)) latency.set_p90(histogram.percentile(0.9));
  if (histogram.supports(0.99)) latency.set_p99(histogram.percentile(0.99));
  if (histogram.supports(0.999)) latency.set_p999(histogram.percentile(0.999));
  latency.set_max(histogram.max());
  latency.set_count(static_cast<double>(histogram.count()));
}

namespace {

// Means, weighted by their samples.
void merge_cost(const v1::Cost& one, v1::Cost& sum) {
  const double samples = sum.samples() + one.samples();
  if (samples == 0) return;
  const double share = one.samples() / samples;
  const auto merged = [&](double of_sum, double of_one) {
    return of_sum + (of_one - of_sum) * share;
  };
  sum.set_encode_seconds(merged(sum.encode_seconds(), one.encode_seconds()));
  sum.set_copy_seconds(merged(sum.copy_seconds(), one.copy_seconds()));
  sum.set_system_call_seconds(merged(sum.system_call_seconds(), one.system_call_seconds()));
  sum.set_wake_up_seconds(merged(sum.wake_up_seconds(), one.wake_up_seconds()));
  sum.set_queueing_seconds(merged(sum.queueing_seconds(), one.queueing_seconds()));
  sum.set_decode_seconds(merged(sum.decode_seconds(), one.decode_seconds()));
  sum.set_rest_seconds(merged(sum.rest_seconds(), one.rest_seconds()));
  sum.set_whole_seconds(merged(sum.whole_seconds(), one.whole_seconds()));
  sum.set_clock_seconds(merged(sum.clock_seconds(), one.clock_seconds()));
  sum.set_crossed(merged(sum.crossed(), one.crossed()));
  sum.set_processor_share(merged(sum.processor_share(), one.processor_share()));
  sum.set_samples(samples);
}

void set_cost(v1::ModelReport& model) {
  for (const v1::Repetition& repetition : model.repetitions()) {
    if (repetition.complete() && repetition.has_cost())
      merge_cost(repetition.cost(), *model.mutable_cost());
  }
}

}  // namespace

void complete_report(v1::RunReport& report, const std::vector<Histogram>& service,
                     std::uint64_t seed, const std::vector<Histogram>& latency) {
  for (int i = 0; i < report.models_size(); ++i) {
    v1::ModelReport& model = *report.mutable_models(i);
    estimate(model, seed);
    const auto index = static_cast<std::size_t>(i);
    if (index < service.size()) set_service(service[index], seed, model);
    if (index < latency.size()) set_latency(latency[index], seed, model);
    sum_jobs(model);
    sum_exits(model);
    set_cost(model);
  }
  set_speedups(report);
  compare_answers(report);
  compare_rows(report);
  report.clear_verdict();
  for (std::string& sentence : verdict_sentences(report)) {
    report.add_verdict(std::move(sentence));
  }
}

}  // namespace bulkhead::coordinator
