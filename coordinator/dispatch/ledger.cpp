#include "dispatch/ledger.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>

namespace bulkhead::coordinator {
namespace {
constexpr std::size_t kMostNotes = 100;
constexpr std::uint32_t kMostCounted = 65535;
}  // namespace

void Ledger::grow(std::uint64_t count) {
  if (jobs_.size() < count) jobs_.resize(count);
}

JobEntry Ledger::at(std::uint64_t job) const {
  const auto trouble = troubles_.find(job);
  if (trouble == troubles_.end()) return {.state = jobs_[job]};
  return {jobs_[job], trouble->second.blames, trouble->second.failures};
}

JobState& Ledger::open(std::uint64_t job) {
  BULKHEAD_CHECK(job < jobs_.size() && jobs_[job] == JobState::kOpen, "job {} of {}", job,
                 jobs_.size());
  return jobs_[job];
}

void Ledger::done(std::uint64_t job, std::string_view bytes) {
  open(job) = JobState::kDone;
  store_.put(job, bytes);
  ++counts_.done;
}

void Ledger::done_without_bytes(std::uint64_t job) {
  open(job) = JobState::kDone;
  ++counts_.done;
}

bool Ledger::threw(std::uint64_t job, const std::string& error) {
  open(job);
  const std::uint32_t failures = at(job).failures + 1u;
  if (failures >= max_attempts_) {
    failed(job, failures, error);
    return true;
  }
  troubles_[job].failures = static_cast<std::uint16_t>(failures);
  return false;
}

void Ledger::failed(std::uint64_t job, std::uint32_t failures, const std::string& error) {
  open(job) = JobState::kFailed;
  troubles_[job].failures = static_cast<std::uint16_t>(std::min(failures, kMostCounted));
  ++counts_.failed;
  note(job, error);
}

bool Ledger::blame(std::uint64_t job, const std::string& reason) {
  JobState& state = open(job);
  std::uint16_t& blames = troubles_[job].blames;
  blames = static_cast<std::uint16_t>(std::min(blames + 1u, kMostCounted));
  if (blames < max_attempts_) return false;
  state = JobState::kQuarantined;
  ++counts_.quarantined;
  note(job, reason);
  return true;
}

void Ledger::note(std::uint64_t job, const std::string& reason) {
  if (notes_.size() < kMostNotes) notes_.push_back({job, reason});
}

}  // namespace bulkhead::coordinator
