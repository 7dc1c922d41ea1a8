// What we break on purpose: KIND@WHERE, and how often each planned fault has fired.
#pragma once

#include <bulkhead/v1/common.pb.h>
#include <bulkhead/v1/control.pb.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::coordinator {

// segv@job=20   segv@job=20,times=3   kill@worker=2,after=500ms   exit@rate=0.002
// segv@task=hash   segv@task=hash,operation=1000
struct FaultSpec {
  std::string text;  // as given
  v1::FaultKind kind = v1::FAULT_UNSPECIFIED;
  std::optional<std::uint64_t> job;
  std::uint32_t times = 1;
  std::string task;                     // of a network; its place is `job` once that is known
  std::uint64_t operation = 1;          // that the task is about to begin when it is struck
  std::optional<std::uint32_t> worker;  // 1..W; a model with one worker has it hit that one
  base::Duration after{0};              // from the moment that all workers are ready
  double rate = 0;                      // of all jobs, drawn from the seed; each is struck once
};

// kInvalidArgument: what is wrong at which column, and what would be right.
Result<FaultSpec> parse_fault(std::string_view text);
const char* to_string(v1::FaultKind kind);

// What `bulkhead list` says of a kind: what it does, and what is predicted to be lost.
struct FaultKindText {
  const char* name;
  const char* help;
  const char* shared;
  const char* isolated;
};
const std::vector<FaultKindText>& fault_kinds();

}  // namespace bulkhead::coordinator
