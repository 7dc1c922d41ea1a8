// Each sentence must be true for every combination of models, faults and repetitions. So a
// difference is only claimed from an interval, a loss only from crashes that happened, and what
// could not be compared is said with its reason.
#include "report/verdict.hpp"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <cmath>
#include <map>
#include <string_view>

#include "report/comparisons.hpp"
#include "report/facts.hpp"
#include "report/statistics.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

using Models = std::vector<const v1::ModelReport*>;

constexpr double kRepetitionsShown = 1000;  // as many as --repeat takes

std::string names_of(const v1::RunReport& report, const Models& models) {
  std::string text;
  for (std::size_t i = 0; i < models.size(); ++i) {
    if (i > 0) text += i + 1 == models.size() ? " and " : ", ";
    text += wire::printable(label(report, *models[i]));
  }
  return text;
}

std::string interval_words(const v1::Comparison& comparison) {
  return fmt::format("95 % interval {} to {}", multiple(comparison.low()),
                     multiple(comparison.high()));
}

bool is_of_latency(const v1::Comparison& comparison) {
  return comparison.measure() == kLatencyMeasure;
}

// `the`: for the middle of a sentence.
std::string times_words(const v1::Comparison& comparison, std::string_view the = "The") {
  const std::string upper = wire::printable(comparison.upper());
  const std::string lower = wire::printable(comparison.lower());
  const std::string ratio = multiple(comparison.ratio());
  if (is_of_latency(comparison)) {
    return fmt::format("{} median latency of {} was {} times that of {}", the, upper, ratio, lower);
  }
  return fmt::format("{} took {} times as long as {}", upper, ratio, lower);
}

std::string no_verdict_words(const v1::Comparison& comparison, std::string_view included) {
  return fmt::format("{} in {}{}; a verdict needs {} repetitions.", times_words(comparison),
                     counted(comparison.repetitions(), "repetition"), included,
                     kRepetitionsForInterval);
}

// What such an interval could have told: "cannot be told apart" is no proof of likeness.
std::string telling_words(const v1::Comparison& comparison) {
  const double needed = comparison.repetitions_for_five_percent();
  if (needed <= comparison.repetitions())
    return " A difference of 5 % would most likely have been told.";
  if (needed > kRepetitionsShown) {
    return fmt::format(" To tell a difference of 5 % takes more than {} repetitions of this noise.",
                       whole(kRepetitionsShown));
  }
  return fmt::format(" To tell a difference of 5 % takes about {} repetitions.", whole(needed));
}

std::string alike_words(const v1::Comparison& comparison, std::string_view included) {
  return fmt::format("The {} of {} and {} cannot be told apart (ratio {}, {}{}).",
                     is_of_latency(comparison) ? "median latencies" : "wall times",
                     wire::printable(comparison.upper()), wire::printable(comparison.lower()),
                     multiple(comparison.ratio()), interval_words(comparison), included);
}

std::string wall_words(const v1::Comparison& comparison, bool only_isolation_differs,
                       bool crashed) {
  const char* included = crashed ? ", crashes and restarts included" : "";
  if (!comparison.has_told_apart()) return no_verdict_words(comparison, included);
  if (!comparison.told_apart()) {
    return alike_words(comparison, included) + telling_words(comparison);
  }
  const std::string interval = interval_words(comparison);
  if (!only_isolation_differs) {
    return fmt::format("{} ({}{}).", times_words(comparison), interval, included);
  }
  return fmt::format("Isolation cost {}{}: {} ({}{}).", comparison.ratio() < 1 ? "no " : "",
                     is_of_latency(comparison) ? "latency" : "time", times_words(comparison, "the"),
                     interval, included);
}

std::string resource_words(const v1::ModelReport& isolated, const v1::ModelReport& shared) {
  std::string text;
  // A crash hardly shows in the median.
  if (isolated.latency_seconds().has_p99() && shared.latency_seconds().has_p99()) {
    text = fmt::format("latency p99 {} against {}, ", duration(isolated.latency_seconds().p99()),
                       duration(shared.latency_seconds().p99()));
  }
  if (isolated.has_pss_bytes() && shared.has_pss_bytes()) {
    text += fmt::format("memory {} against {}, ", size(isolated.pss_bytes().median()),
                        size(shared.pss_bytes().median()));
  }
  text += fmt::format("start-up {} against {}, {} against {}",
                      duration(isolated.startup_seconds().median()),
                      duration(shared.startup_seconds().median()),
                      counted(isolated.messages(), "message"), whole(shared.messages()));
  text[0] = static_cast<char>(text[0] - 'a' + 'A');  // a letter of ours
  return text + ".";
}

// The row of the same model in which each value is copied or encoded on its way (--transfers).
const v1::ModelReport* control_of(const v1::RunReport& report, const v1::ModelReport& shared,
                                  const char* transfer) {
  for (const v1::ModelReport& model : report.models()) {
    if (model.model() == shared.model() && model.transport() == transfer && model.side().empty() &&
        is_measured(model)) {
      return &model;
    }
  }
  return nullptr;
}

// What of a price is encoding, as the control shows it, and what is left for the boundary.
std::string split_words(const v1::RunReport& report, const v1::ModelReport& isolated,
                        const v1::ModelReport& shared) {
  const v1::ModelReport* const encode = control_of(report, shared, "encode");
  const double base = shared.wall_seconds().median();
  const double price = isolated.wall_seconds().median() - base;
  if (encode == nullptr || price <= 0) return "";
  const double encoding = std::max(0.0, encode->wall_seconds().median() - base);
  std::string text =
      fmt::format(" Of the {} more, encoding and decoding each value explains {} ({})",
                  duration(price), duration(std::min(encoding, price)), label(report, *encode));
  if (const v1::ModelReport* const copy = control_of(report, shared, "copy")) {
    text += fmt::format(", where copying it takes {} ({})",
                        duration(std::max(0.0, copy->wall_seconds().median() - base)),
                        label(report, *copy));
  }
  if (encoding >= price) return text + ", so nothing is left for the boundary.";
  return text + fmt::format("; {} are the boundary itself: system calls, wake-ups, address spaces.",
                            duration(price - encoding));
}

void add_cost(const v1::RunReport& report, const v1::ModelReport& isolated,
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
  const v1::Comparison* const walls = find_comparison(report, isolated, *shared);
  if (walls == nullptr) {
    sentences.push_back(
        fmt::format("{} and {} have no repetition in common, so what isolation costs is not known.",
                    name, other));
    return;
  }
  const bool fair = isolated.processors() == shared->processors();
  const bool crashed = isolated.crashes() + shared->crashes() > 0;
  std::string text = wall_words(*walls, fair, crashed);
  if (!fair) {
    text += fmt::format(" They had {} and {}, so this is not the price of isolation alone.",
                        counted(isolated.processors(), "processor"), shared->processors());
  }
  text += split_words(report, isolated, *shared);
  sentences.push_back(text + " " + resource_words(isolated, *shared));
}

// A model that is asked for more than it can do is behind from the start, and further with each
// job: by the end for the time that the run took longer, in the middle for half of it.
void add_overload(const v1::RunReport& report, std::vector<std::string>& sentences) {
  constexpr double kDone = 0.9;     // of the rate
  constexpr double kBehind = 0.04;  // of the wall, in the middle
  for (const v1::ModelReport& model : report.models()) {
    if (!is_open_loop(report) || !is_measured(model)) continue;
    const double done = model.throughput_per_second().median();
    if (done >= kDone * report.rate_per_second() ||
        model.latency_seconds().p50() < kBehind * model.wall_seconds().median()) {
      continue;
    }
    sentences.push_back(fmt::format(
        "{} did not keep up: it did {} of {} jobs/s, so each job came later than the one before, "
        "and "
        "its latencies tell how long the run was.",
        wire::printable(label(report, model)), digits(done), digits(report.rate_per_second())));
  }
}

// Of a second side: with --aa nothing differs, so nothing may be told.
void add_twin(const v1::RunReport& report, const v1::ModelReport& twin,
              std::vector<std::string>& sentences) {
  const std::string name = wire::printable(label(report, twin));
  const v1::ModelReport* const first = first_side(report, twin);
  const v1::Comparison* const walls =
      first == nullptr ? nullptr : find_comparison(report, twin, *first);
  if (walls == nullptr) {
    sentences.push_back(fmt::format(
        "{} has no repetition in common with its first side, so they are not compared.", name));
    return;
  }
  if (!walls->has_told_apart()) {
    sentences.push_back(no_verdict_words(*walls, ""));
  } else if (!walls->told_apart()) {
    sentences.push_back(alike_words(*walls, "") + telling_words(*walls));
  } else if (twin.side() != kSameAgain) {
    sentences.push_back(fmt::format("{} ({}).", times_words(*walls), interval_words(*walls)));
  } else {
    sentences.push_back(fmt::format(
        "{} ({}), though the two are the same: chance, as in one try of 20, or this machine does "
        "not treat them alike. Believe no difference of that size in this report.",
        times_words(*walls), interval_words(*walls)));
  }
}

// Each interval is right 19 times of 20. Several together are so less often.
void add_family(const v1::RunReport& report, std::vector<std::string>& sentences) {
  const auto judged =
      std::count_if(report.comparisons().begin(), report.comparisons().end(),
                    [](const v1::Comparison& comparison) { return comparison.has_told_apart(); });
  if (judged < 2) return;
  const double any = 100 * (1 - std::pow(0.95, static_cast<double>(judged)));
  sentences.push_back(
      fmt::format("These are {} comparisons with 95 % each: if nothing differed anywhere, up to "
                  "{:.0f} % of such reports would still tell some pair apart.",
                  judged, any));
}

// "everything at risk, 84 jobs" or "0.25 of what was at risk, 3 jobs"
std::string taken_words(const v1::RunReport& report, const v1::ModelReport& model) {
  const double jobs = jobs_taken(model);
  if (jobs == 0) return "nothing";
  if (!model.has_blast_radius()) return counted(jobs, job_noun(report));
  if (model.blast_radius() >= 0.9995) {
    return fmt::format("everything at risk, {}", counted(jobs, job_noun(report)));
  }
  return fmt::format("{}{} of what was at risk, {}", model.crashes() > 1 ? "on average " : "",
                     digits(model.blast_radius()), counted(jobs, job_noun(report)));
}

std::string crash_words(const v1::RunReport& report, const std::string& name,
                        const v1::ModelReport& model) {
  if (model.crashes() == 1)
    return fmt::format("The crash in {} took {}", name, taken_words(report, model));
  return fmt::format("The {} in {} took {}{}", counted(model.crashes(), "crash"), name,
                     taken_words(report, model), jobs_taken(model) == 0 ? "" : " in all");
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
            : fmt::format("No worker died, so this run does not show what isolation saves: try "
                          "--fault segv@{}.",
                          report.tasks().empty()
                              ? "job=20"
                              : "task=" + wire::printable(*report.tasks().rbegin(), 100)));
    return;
  }
  // The most telling of each side: the baseline of the cost sentence, else the first that crashed.
  const v1::ModelReport* one = shared.empty() ? nullptr : shared.front();
  for (const v1::ModelReport* model : shared) {
    if (model == baseline_of(report, true)) one = model;
  }
  const v1::ModelReport* other = isolated.empty() ? nullptr : isolated.front();
  std::string text;
  if (one != nullptr) text = crash_words(report, wire::printable(label(report, *one)), *one);
  if (other != nullptr) {
    const std::string name = wire::printable(label(report, *other));
    if (one == nullptr) {
      text = crash_words(report, name, *other);
    } else {
      text += fmt::format(
          "; {} in {} took {}",
          other->crashes() == 1 ? "the one" : fmt::format("the {}", whole(other->crashes())), name,
          taken_words(report, *other));
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
    const bool sides = std::any_of(equal.begin(), equal.end(), [](const v1::ModelReport* model) {
      return !model->side().empty();
    });
    const char* const what = sides ? "rows" : "models";
    text = fmt::format("{} gave the same answer.",
                       !none.empty()       ? names_of(report, equal)
                       : equal.size() == 2 ? fmt::format("Both {}", what)
                                           : fmt::format("All {} {}", equal.size(), what));
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
        report.models().begin(), report.models().end(), [&](const v1::ModelReport& candidate) {
          return candidate.model() == fault.model() && candidate.side() == fault.side() &&
                 (!fault.has_transport() || candidate.transport() == fault.transport());
        });
    if (model != report.models().end() && !model->ran()) continue;
    Silent& entry = silent[fault.text()];
    if (model == report.models().end()) continue;
    entry.models.push_back(wire::printable(label(report, *model)));
    entry.jobs = std::max(entry.jobs, jobs_per_repetition(*model));
  }
  for (const auto& [fault, entry] : silent) {
    std::string text = fmt::format("The fault {} never fired", wire::printable(fault));
    if (!entry.models.empty()) text += fmt::format(" in {}", fmt::join(entry.models, ", "));
    if (entry.jobs > 0)
      text += fmt::format(": there were {}", counted(entry.jobs, job_noun(report)));
    sentences.push_back(text + ".");
  }
}

}  // namespace

std::vector<std::string> verdict_sentences(const v1::RunReport& report) {
  std::vector<std::string> sentences;
  if (report.interrupted()) {
    sentences.push_back("The run was interrupted: only complete repetitions are counted as times.");
  }
  int models = 0;
  bool shared = false;
  bool isolated = false;
  for (const v1::ModelReport& model : report.models()) {
    if (!model.side().empty()) continue;
    ++models;
    (is_isolated(model) ? isolated : shared) = true;
  }
  for (const v1::ModelReport& model : report.models()) {
    if (!model.side().empty()) {
      add_twin(report, model, sentences);
    } else if (is_isolated(model) && models > 1) {
      add_cost(report, model, sentences);
    }
  }
  if (shared && !isolated && models > 1) {
    sentences.push_back(
        "No isolated model was asked for: add processes to --models to see what isolation costs.");
  }
  add_family(report, sentences);
  add_overload(report, sentences);
  add_saved(report, sentences);
  add_answers(report, sentences);
  add_silent_faults(report, sentences);
  return sentences;
}

}  // namespace bulkhead::coordinator
