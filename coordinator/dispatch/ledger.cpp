#include "dispatch/ledger.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <utility>

namespace bulkhead::coordinator {
namespace {
constexpr std::size_t kMostNotes = 100;
constexpr std::uint32_t kMostCounted = 65535;
}  // namespace

void Ledger::grow(std::uint64_t count) {
  if (jobs_.size() < count) jobs_.resize(count);
}

JobEntry& Ledger::open(std::uint64_t job) {
  BULKHEAD_CHECK(job < jobs_.size() && jobs_[job].state == JobState::kOpen, "job {} of {}", job,
                 jobs_.size());
  return jobs_[job];
}

void Ledger::done(std::uint64_t job, std::string bytes) {
  open(job).state = JobState::kDone;
  store_.put(job, std::move(bytes));
  ++counts_.done;
}

void Ledger::done_without_bytes(std::uint64_t job) {
  open(job).state = JobState::kDone;
  ++counts_.done;
}

bool Ledger::threw(std::uint64_t job, const std::string& error) {
  JobEntry& entry = open(job);
  const std::uint32_t failures = entry.failures + 1u;
  if (failures >= max_attempts_) {
    failed(job, failures, error);
    return true;
  }
  entry.failures = static_cast<std::uint16_t>(failures);
  return false;
}

void Ledger::failed(std::uint64_t job, std::uint32_t failures, const std::string& error) {
  JobEntry& entry = open(job);
  entry.failures = static_cast<std::uint16_t>(std::min(failures, kMostCounted));
  entry.state = JobState::kFailed;
  ++counts_.failed;
  note(job, error);
}

bool Ledger::blame(std::uint64_t job, const std::string& reason) {
  JobEntry& entry = open(job);
  entry.blames = static_cast<std::uint16_t>(std::min(entry.blames + 1u, kMostCounted));
  if (entry.blames < max_attempts_) return false;
  entry.state = JobState::kQuarantined;
  ++counts_.quarantined;
  note(job, reason);
  return true;
}

void Ledger::note(std::uint64_t job, const std::string& reason) {
  if (notes_.size() < kMostNotes) notes_.push_back({job, reason});
}

}  // namespace bulkhead::coordinator
