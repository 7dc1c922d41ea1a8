// Each sentence must be true for every combination of models, faults and repetitions. So a
// difference is only claimed from an interval, a loss only from crashes that happened, and what
// could not be compared is said with its reason.
#include "report/verdict.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bulkhead/wire/text.hpp>
#include <map>
#include <optional>
#include <string_view>

#include "report/facts.hpp"
#include "report/statistics.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

using Models = std::vector<const v1::ModelReport*>;

// The shared-memory model that isolated ones are held against: `parallel` differs from `processes`
// in nothing but isolation; the others only stand in for it.
const v1::ModelReport* baseline_of(const v1::RunReport& report, bool measured) {
  constexpr std::array<std::string_view, 4> kOrder{"parallel", "threads", "concurrent",
                                                   "sequential"};
  for (const std::string_view name : kOrder) {
    for (const v1::ModelReport& model : report.models()) {
      if (model.model() == name && (!measured || is_measured(model))) return &model;
    }
  }
  return nullptr;
}

std::string names_of(const v1::RunReport& report, const Models& models) {
  std::string text;
  for (std::size_t i = 0; i < models.size(); ++i) {
    if (i > 0) text += i + 1 == models.size() ? " and " : ", ";
    text += wire::printable(label(report, *models[i]));
  }
  return text;
}

// Walls of the repetitions that both models completed.
std::optional<Ratio> ratio_of_walls(const v1::ModelReport& upper, const v1::ModelReport& lower,
                                    std::uint64_t seed) {
  std::vector<double> above;
  std::vector<double> below;
  const int pairs = std::min(upper.repetitions_size(), lower.repetitions_size());
  for (int i = 0; i < pairs; ++i) {
    const v1::Repetition& one = upper.repetitions(i);
    const v1::Repetition& other = lower.repetitions(i);
    if (!one.complete() || !other.complete()) continue;
    above.push_back(one.wall_seconds());
    below.push_back(other.wall_seconds());
  }
  return ratio_of_medians(above, below, seed);
}

std::string wall_words(const std::string& isolated, const std::string& shared, const Ratio& ratio,
                       bool only_isolation_differs, bool crashed) {
  const char* included = crashed ? ", crashes and restarts included" : "";
  const std::string times =
      fmt::format("{} took {} times as long as {}", isolated, multiple(ratio.ratio), shared);
  if (!ratio.interval) {
    return fmt::format("{} in {}{}; a verdict needs {} repetitions.", times,
                       counted(static_cast<double>(ratio.repetitions), "repetition"), included,
                       kRepetitionsForInterval);
  }
  const std::string interval = fmt::format("95 % interval {} to {}", multiple(ratio.interval->low),
                                           multiple(ratio.interval->high));
  if (ratio.interval->low <= 1 && ratio.interval->high >= 1) {
    return fmt::format("The wall times of {} and {} cannot be told apart (ratio {}, {}{}).",
                       isolated, shared, multiple(ratio.ratio), interval, included);
  }
  if (!only_isolation_differs) return fmt::format("{} ({}{}).", times, interval, included);
  return fmt::format("Isolation cost {}time: {} ({}{}).", ratio.ratio < 1 ? "no " : "", times,
                     interval, included);
}

std::string resource_words(const v1::ModelReport& isolated, const v1::ModelReport& shared) {
  std::string text;
  if (isolated.has_pss_bytes() && shared.has_pss_bytes()) {
    text = fmt::format("memory {} against {}, ", size(isolated.pss_bytes().median()),
                       size(shared.pss_bytes().median()));
  }
  text += fmt::format("start-up {} against {}, {} against {}",
                      duration(isolated.startup_seconds().median()),
                      duration(shared.startup_seconds().median()),
                      counted(isolated.messages(), "message"), whole(shared.messages()));
  text[0] = static_cast<char>(text[0] == 'm' ? 'M' : 'S');
  return text + ".";
}

void add_cost(const v1::RunReport& report, const v1::ModelReport& isolated, std::uint64_t seed,
              std::vector<std::string>& sentences) {
  const std::string name = wire::printable(label(report, isolated));
  const v1::ModelReport* shared = baseline_of(report, true);
  if (!is_measured(isolated)) {
    sentences.push_back(fmt::format("{} {}, so what isolation costs is not known from this run.",
                                    name,
                                    isolated.ran() ? "completed no repetition" : "did not run"));
    return;
  }
  if (shared == nullptr) {
    const bool listed = baseline_of(report, false) != nullptr;
    sentences.push_back(fmt::format(
        "No shared-memory model {}, so what isolation costs is not known from this run.",
        listed ? "completed a repetition" : "was asked for"));
    return;
  }
  const std::string other = wire::printable(label(report, *shared));
  const std::optional<Ratio> ratio = ratio_of_walls(isolated, *shared, seed);
  if (!ratio) {
    sentences.push_back(
        fmt::format("{} and {} have no repetition in common, so what isolation costs is not known.",
                    name, other));
    return;
  }
  const bool fair = isolated.processors() == shared->processors();
  const bool crashed = isolated.crashes() + shared->crashes() > 0;
  std::string text = wall_words(name, other, *ratio, fair, crashed);
  if (!fair) {
    text += fmt::format(" They had {} and {}, so this is not the price of isolation alone.",
                        counted(isolated.processors(), "processor"), shared->processors());
  }
  sentences.push_back(text + " " + resource_words(isolated, *shared));
}

// "everything at risk, 84 jobs" or "0.25 of what was at risk, 3 jobs"
std::string taken_words(const v1::ModelReport& model) {
  const double jobs = jobs_taken(model);
  if (jobs == 0) return "nothing";
  if (!model.has_blast_radius()) return counted(jobs, "job");
  if (model.blast_radius() >= 0.9995) {
    return fmt::format("everything at risk, {}", counted(jobs, "job"));
  }
  return fmt::format("{}{} of what was at risk, {}", model.crashes() > 1 ? "on average " : "",
                     digits(model.blast_radius()), counted(jobs, "job"));
}

std::string crash_words(const std::string& name, const v1::ModelReport& model) {
  if (model.crashes() == 1) return fmt::format("The crash in {} took {}", name, taken_words(model));
  return fmt::format("The {} in {} took {}{}", counted(model.crashes(), "crash"), name,
                     taken_words(model), jobs_taken(model) == 0 ? "" : " in all");
}

void add_saved(const v1::RunReport& report, std::vector<std::string>& sentences) {
  Models shared;
  Models isolated;
  Models ran;
  for (const v1::ModelReport& model : report.models()) {
    if (!model.ran()) continue;
    ran.push_back(&model);
    if (model.crashes() > 0) (is_isolated(model) ? isolated : shared).push_back(&model);
  }
  if (shared.empty() && isolated.empty()) {
    const bool compared =
        std::any_of(ran.begin(), ran.end(),
                    [](const v1::ModelReport* model) { return is_isolated(*model); }) &&
        std::any_of(ran.begin(), ran.end(),
                    [](const v1::ModelReport* model) { return !is_isolated(*model); });
    if (!compared) return;
    sentences.push_back(
        report.faults_size() > 0
            ? "No worker died, so this run does not show what isolation saves."
            : "No worker died, so this run does not show what isolation saves: try --fault "
              "segv@job=20.");
    return;
  }
  // The most telling of each side: the baseline of the cost sentence, else the first that crashed.
  const v1::ModelReport* one = shared.empty() ? nullptr : shared.front();
  for (const v1::ModelReport* model : shared) {
    if (model == baseline_of(report, true)) one = model;
  }
  const v1::ModelReport* other = isolated.empty() ? nullptr : isolated.front();
  std::string text;
  if (one != nullptr) text = crash_words(wire::printable(label(report, *one)), *one);
  if (other != nullptr) {
    const std::string name = wire::printable(label(report, *other));
    if (one == nullptr) {
      text = crash_words(name, *other);
    } else {
      text += fmt::format(
          "; {} in {} took {}",
          other->crashes() == 1 ? "the one" : fmt::format("the {}", whole(other->crashes())), name,
          taken_words(*other));
    }
  }
  text += ".";
  if (ran.size() > 1 && one == nullptr) {
    text += " No shared-memory model crashed, so there is nothing to hold this against.";
  } else if (ran.size() > 1 && other == nullptr) {
    text += " No isolated model crashed, so what isolation saves was not seen.";
  }
  sentences.push_back(text);
}

void add_answers(const v1::RunReport& report, std::vector<std::string>& sentences) {
  Models equal;
  Models different;
  Models none;
  for (const v1::ModelReport& model : report.models()) {
    if (answer_checksum(model).empty()) {
      none.push_back(&model);
    } else {
      (model.answer_equal() ? equal : different).push_back(&model);
    }
  }
  if (equal.empty() && different.empty()) {
    if (report.models_size() > 0) sentences.push_back("No model gave an answer.");
    return;
  }
  std::string text;
  if (!different.empty() && equal.empty()) {
    // Only a model that contradicts itself differs from the first answer and gave it.
    text = fmt::format("Not every repetition of {} gave the same answer.",
                       names_of(report, different));
  } else if (!different.empty()) {
    text = fmt::format("The answers differ: {} did not give the answer of {} in every repetition.",
                       names_of(report, different), names_of(report, equal));
  } else if (equal.size() > 1) {
    text = fmt::format("{} gave the same answer.",
                       none.empty() ? equal.size() == 2 ? "Both models"
                                                        : fmt::format("All {} models", equal.size())
                                    : names_of(report, equal));
  }
  if (!none.empty()) {
    if (!text.empty()) text += " ";
    text += fmt::format("No answer from {}.", names_of(report, none));
  }
  if (!text.empty()) sentences.push_back(text);
}

double jobs_per_repetition(const v1::ModelReport& model) {
  double jobs = 0;
  for (const v1::Repetition& repetition : model.repetitions()) {
    jobs = std::max(jobs, repetition.jobs().total());
  }
  if (jobs == 0) jobs = model.jobs().total() / std::max(1, model.repetitions_size());
  return jobs;
}

void add_silent_faults(const v1::RunReport& report, std::vector<std::string>& sentences) {
  struct Silent {
    std::vector<std::string> models;
    double jobs = 0;
  };
  std::map<std::string, Silent> silent;
  for (const v1::FaultReport& fault : report.faults()) {
    if (fault.fired() > 0) continue;
    const auto model = std::find_if(
        report.models().begin(), report.models().end(),
        [&](const v1::ModelReport& candidate) { return candidate.model() == fault.model(); });
    if (model != report.models().end() && !model->ran()) continue;
    Silent& entry = silent[fault.text()];
    if (model == report.models().end()) continue;
    entry.models.push_back(wire::printable(fault.model()));
    entry.jobs = std::max(entry.jobs, jobs_per_repetition(*model));
  }
  for (const auto& [fault, entry] : silent) {
    std::string text = fmt::format("The fault {} never fired", wire::printable(fault));
    if (!entry.models.empty()) text += fmt::format(" in {}", fmt::join(entry.models, ", "));
    if (entry.jobs > 0) text += fmt::format(": there were {}", counted(entry.jobs, "job"));
    sentences.push_back(text + ".");
  }
}

}  // namespace

std::vector<std::string> verdict_sentences(const v1::RunReport& report, std::uint64_t seed) {
  std::vector<std::string> sentences;
  if (report.interrupted()) {
    sentences.push_back("The run was interrupted: only complete repetitions are counted as times.");
  }
  const bool shared = std::any_of(report.models().begin(), report.models().end(),
                                  [](const v1::ModelReport& model) { return !is_isolated(model); });
  bool isolated = false;
  for (const v1::ModelReport& model : report.models()) {
    if (!is_isolated(model)) continue;
    isolated = true;
    if (report.models_size() > 1) add_cost(report, model, seed, sentences);
  }
  if (shared && !isolated && report.models_size() > 1) {
    sentences.push_back(
        "No isolated model was asked for: add processes to --models to see what isolation costs.");
  }
  add_saved(report, sentences);
  add_answers(report, sentences);
  add_silent_faults(report, sentences);
  return sentences;
}

}  // namespace bulkhead::coordinator
