// Questions about a RunReport that the table, the sentences and the estimates all ask.
#pragma once

#include <bulkhead/v1/report.pb.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <string>

#include "report/units.hpp"

namespace bulkhead::coordinator {

// The side of a row that is its model once more with nothing changed, as --aa asks for; and of one
// with another setting (--aa-set).
inline constexpr const char* kSameAgain = "A/A";
inline constexpr const char* kAnotherSetting = "A/B";

// What a comparison is of: fields of Repetition.
inline constexpr const char* kWallMeasure = "wall_seconds";
inline constexpr const char* kLatencyMeasure = "latency_median_seconds";

inline bool is_open_loop(const v1::RunReport& report) { return report.has_rate_per_second(); }

// Every end without a goodbye. A kill by us is one too (a hung worker), but not while draining:
// there it is the last step of the shutdown ladder.
inline bool is_crash(const v1::WorkerExit& exit) {
  if (exit.verdict() == "finished") return false;
  if (exit.verdict() == "killed by us") return exit.state() != "draining";
  return true;
}

inline bool is_isolated(const v1::ModelReport& model) {
  return model.model() == "processes" || model.model() == "cluster";
}

inline int complete_repetitions(const v1::ModelReport& model) {
  return static_cast<int>(
      std::count_if(model.repetitions().begin(), model.repetitions().end(),
                    [](const v1::Repetition& repetition) { return repetition.complete(); }));
}

// Has figures: at least one repetition came to its end.
inline bool is_measured(const v1::ModelReport& model) {
  return model.ran() && complete_repetitions(model) > 0;
}

// Empty when the model gave no answer.
inline std::string answer_checksum(const v1::ModelReport& model) {
  if (!model.answer().checksum().empty()) return model.answer().checksum();
  for (const v1::Repetition& repetition : model.repetitions()) {
    if (repetition.complete() && !repetition.checksum().empty()) return repetition.checksum();
  }
  return {};
}

// Jobs that crashes took: started or finished, and not safe.
inline double jobs_taken(const v1::ModelReport& model) {
  return model.jobs().lost_in_flight() + model.jobs().results_lost();
}

// What the jobs of a report are called: a network's are its tasks.
inline const char* job_noun(const v1::RunReport& report) {
  return report.tasks().empty() ? "job" : "task";
}
// 20, or 'hash'.
inline std::string job_name(const v1::RunReport& report, double job) {
  if (!(job >= 0 && job < report.tasks_size())) return whole(job);
  return "'" + wire::printable(report.tasks(static_cast<int>(job)), 100) + "'";
}
// "job 20", "task 'hash'".
inline std::string job_words(const v1::RunReport& report, double job) {
  return std::string(job_noun(report)) + " " + job_name(report, job);
}

// The model's name, with its transport where another row differs in nothing else, and its side
// where it is the second of two: "processes/unix", "parallel (A/A)".
inline std::string label(const v1::RunReport& report, const v1::ModelReport& model) {
  const auto same = std::count_if(
      report.models().begin(), report.models().end(), [&](const v1::ModelReport& other) {
        return other.model() == model.model() && other.side() == model.side();
      });
  std::string text = model.model();
  if (same > 1 && !model.transport().empty()) text += "/" + model.transport();
  if (!model.side().empty()) text += " (" + model.side() + ")";
  return text;
}

}  // namespace bulkhead::coordinator
