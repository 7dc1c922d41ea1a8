// requests: jobs that mostly wait, as requests do that ask another machine: some work, a wait, the
// rest of the work. What interleaving is for: one processor can have many of them waiting.
//
// The work is a number of iterations that was worked out from a calibration before the runs, so it
// is the same in every model. Part of it comes before the wait: then no processor idles while the
// first requests wait, as long as there are requests to begin. Two fifths: a little less than half
// lets the last requests begin, and so wait, earlier.
#include "program/requests.hpp"

#include <fmt/format.h>

#include <bulkhead/program/synthetic_work.hpp>
#include <bulkhead/sched/scheduler.hpp>

#include "program/hash.hpp"

namespace bulkhead::program {

Description Requests::describe() {
  Description description{
      "requests",
      "jobs that wait as for another machine, and compute a little",
      false,
      {{"count", ParameterType::kInteger, "400", "how many requests", 1, 1e6},
       {"wait", ParameterType::kDuration, "5000000", "how long each waits", 0, 6e10},
       {"compute", ParameterType::kDuration, "50000", "processor time that each takes", 0, 6e10}}};
  description.wants_calibration = true;
  return description;
}

Requests::Requests(const Settings& settings)
    : count_(static_cast<std::uint64_t>(settings.integer("count"))),
      wait_(settings.duration("wait")),
      iterations_(settings.iterations("compute")) {}

void Requests::source(const Emit<Input>& emit) const {
  for (std::uint64_t request = 0; request < count_; ++request) {
    if (!emit(request)) return;
  }
}

std::uint64_t Requests::work(const Input& input) const {
  const std::uint64_t before = iterations_ / 5 * 2;
  const std::uint64_t begun = compute(mix(input + 1), before);
  if (wait_.count() > 0) {
    sched::sleep_for(wait_);
    sched::yield();  // those that have not begun go first: they still have their wait before them
  }
  return compute(begun, iterations_ - before);
}

void Requests::Reducer::add(std::uint64_t job, const std::uint64_t* result) {
  if (result == nullptr) {
    ++missing_;
    return;
  }
  ++answered_;
  hash_ = mix(hash_ ^ mix(*result + job));
}

Answer Requests::Reducer::finish() {
  Answer answer;
  answer.checksum = hex16(mix(hash_ + answered_) + missing_);
  answer.text = fmt::format("requests answered: {}\niterations of each: {}\n", answered_,
                            program_.iterations_);
  if (missing_ > 0) answer.text += fmt::format("requests without an answer: {}\n", missing_);
  return answer;
}

BULKHEAD_JOBS_PROGRAM(Requests);

}  // namespace bulkhead::program
