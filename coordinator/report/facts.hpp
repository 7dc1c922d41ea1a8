// Questions about a RunReport that the table, the sentences and the estimates all ask.
#pragma once

#include <bulkhead/v1/report.pb.h>

#include <algorithm>
#include <string>

namespace bulkhead::coordinator {

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

// The model's name, with its transport where another row has the same name.
inline std::string label(const v1::RunReport& report, const v1::ModelReport& model) {
  const auto same =
      std::count_if(report.models().begin(), report.models().end(),
                    [&](const v1::ModelReport& other) { return other.model() == model.model(); });
  if (same < 2 || model.transport().empty()) return model.model();
  return model.model() + " (" + model.transport() + ")";
}

}  // namespace bulkhead::coordinator
