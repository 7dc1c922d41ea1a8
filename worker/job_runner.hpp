// Runs one attempt of one job: keeps the crash page, fires planned faults, catches what the user's
// code throws. Shared by all models.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <atomic>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "fault_striker.hpp"
#include "job_clock.hpp"

namespace bulkhead::worker {

// Keeps each processor's slot on the crash page true: what runs there right now.
class SlotObserver final : public sched::Observer {
 public:
  explicit SlotObserver(wire::CrashPage* page) : page_(page) {}
  void on_switch(unsigned processor, sched::Tag tag) override;
  void on_processor_start(unsigned processor) override;
  void on_loan_end(base::Duration lent) override;
  void on_alone_end(base::Duration alone) override;
  void on_helper_start() override;

 private:
  wire::CrashPage* page_;
};

struct Attempt {
  std::optional<program::Value> value;  // or
  std::string error;                    // what() of what it threw
  double service_seconds = 0;
};

// Thread-safe after construction.
class JobRunner {
 public:
  JobRunner(const v1::Boot& boot, const program::ErasedJobs& program, wire::CrashPage* page);

  // Call in the goroutine of the job. `fault` fires before the work begins.
  Attempt run(const program::Value& input, const v1::PlannedFault* fault);
  // The next attempt to begin here, whichever job it is of, suffers this fault.
  void arm(const v1::PlannedFault& fault) { striker_.arm(fault); }

  std::uint64_t started() const { return started_.load(std::memory_order_relaxed); }
  std::uint64_t finished() const { return finished_.load(std::memory_order_relaxed); }
  // Mean service time of late, for credit; 0 before the first.
  double recent_service_seconds() const { return recent_.load(std::memory_order_relaxed); }

 private:
  wire::CrashSlot& own_slot();

  const program::ErasedJobs& program_;
  wire::CrashPage* page_;
  FaultStriker striker_;
  std::optional<JobClock> clock_;
  // Counters that other threads read as hints: relaxed.
  std::atomic<std::uint64_t> started_{0};
  std::atomic<std::uint64_t> finished_{0};
  std::atomic<double> recent_{0};
};

}  // namespace bulkhead::worker
