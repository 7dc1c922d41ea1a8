// What is known of every job of one run: state, blames, failures, result. A plain state machine.
//
// Invariants, checked: a final job never changes again; done + failed + quarantined + open = total.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dispatch/result_store.hpp"

namespace bulkhead::coordinator {

enum class JobState : std::uint8_t {
  kOpen,         // not final; where it waits or runs is the dispatcher's business
  kDone,         // its result is in the store (or was counted by the answer of a summary)
  kFailed,       // threw at each of its attempts
  kQuarantined,  // its worker died with it in a slot, once too often
};

struct JobEntry {
  JobState state = JobState::kOpen;
  std::uint16_t blames = 0;    // deaths with this job in a slot, or named by the crash handler
  std::uint16_t failures = 0;  // attempts that threw
};

struct JobNote {
  std::uint64_t job = 0;
  std::string reason;
};

struct LedgerCounts {
  std::uint64_t done = 0;
  std::uint64_t failed = 0;
  std::uint64_t quarantined = 0;
  std::uint64_t retried = 0;
  std::uint64_t lost_in_flight = 0;
  std::uint64_t results_lost = 0;
  std::uint64_t duplicates = 0;
};

class Ledger {
 public:
  Ledger(std::uint32_t max_attempts, ResultStore store)
      : max_attempts_(max_attempts), store_(std::move(store)) {}

  // Makes sure that jobs 0..count-1 exist.
  void grow(std::uint64_t count);
  std::uint64_t size() const { return jobs_.size(); }
  JobEntry at(std::uint64_t job) const;
  bool is_final(std::uint64_t job) const {
    return job < jobs_.size() && jobs_[job] != JobState::kOpen;
  }
  std::uint64_t final_count() const { return counts_.done + counts_.failed + counts_.quarantined; }

  // Each answers whether the job is final afterwards. All refuse a job that is final already.
  void done(std::uint64_t job, std::string_view bytes);
  void done_without_bytes(std::uint64_t job);
  bool threw(std::uint64_t job, const std::string& error);  // one more failed attempt
  void failed(std::uint64_t job, std::uint32_t failures, const std::string& error);
  bool blame(std::uint64_t job, const std::string& reason);  // one more death on its account

  // A suspect runs alone from its second death on.
  bool is_suspect(std::uint64_t job) const {
    return jobs_[job] == JobState::kOpen && at(job).blames >= 2;
  }
  // The reason of a failed or quarantined job, for at most 100 of them.
  const std::vector<JobNote>& notes() const { return notes_; }
  const ResultStore& store() const { return store_; }
  LedgerCounts& counts() { return counts_; }
  const LedgerCounts& counts() const { return counts_; }
  std::uint32_t max_attempts() const { return max_attempts_; }

 private:
  struct Trouble {
    std::uint16_t blames = 0;
    std::uint16_t failures = 0;
  };
  JobState& open(std::uint64_t job);
  void note(std::uint64_t job, const std::string& reason);

  std::uint32_t max_attempts_;
  ResultStore store_;
  std::vector<JobState> jobs_;
  std::unordered_map<std::uint64_t, Trouble> troubles_;  // few jobs have any
  std::vector<JobNote> notes_;
  LedgerCounts counts_;
};

}  // namespace bulkhead::coordinator
