// Runs a whole jobs program inside a test, with every value crossing as bytes, as it does between
// processes: source -> encode -> decode -> work -> encode -> decode -> reduce.
#pragma once

#include <bulkhead/base/check.hpp>
#include <bulkhead/program/jobs.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

namespace bulkhead::test {

using SettingValues = std::map<std::string, std::string>;

inline std::unique_ptr<program::ErasedJobs> make_program(std::string_view name,
                                                         const SettingValues& values,
                                                         std::vector<std::string> inputs = {}) {
  const program::Registration* registration = program::find_program(name);
  BULKHEAD_CHECK(registration != nullptr, "no program '{}' is linked into this test", name);
  return registration->make(
      program::Settings(registration->description, values, std::move(inputs)));
}

// The encoded inputs from job `from` on.
inline std::vector<std::string> encoded_inputs(const program::ErasedJobs& jobs,
                                               std::uint64_t from = 0) {
  std::vector<std::string> inputs;
  jobs.source(from, [&](program::Value input) {
    inputs.push_back(jobs.encode_input(input));
    return true;
  });
  return inputs;
}

// `gaps`: jobs that are given up, as when they failed or were quarantined. What work() throws
// passes.
inline program::Answer run_program(const program::ErasedJobs& jobs,
                                   const std::set<std::uint64_t>& gaps = {}) {
  const std::unique_ptr<program::ErasedReducer> reducer = jobs.reducer();
  std::uint64_t job = 0;
  for (const std::string& bytes : encoded_inputs(jobs)) {
    if (gaps.contains(job)) {
      reducer->add(job++, nullptr);
      continue;
    }
    const Result<program::Value> input = jobs.decode_input(bytes);
    BULKHEAD_CHECK(input.has_value(), "input of job {}: {}", job, input.error().text);
    const Result<program::Value> result =
        jobs.decode_result(jobs.encode_result(jobs.work(*input, {})));
    BULKHEAD_CHECK(result.has_value(), "result of job {}: {}", job, result.error().text);
    reducer->add(job++, &*result);
  }
  return reducer->finish();
}

inline program::Answer run_program(std::string_view name, const SettingValues& values,
                                   std::vector<std::string> inputs = {}) {
  return run_program(*make_program(name, values, std::move(inputs)));
}

}  // namespace bulkhead::test
