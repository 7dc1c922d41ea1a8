// An isolated model's worker: takes leased jobs, answers with results; when asked, runs the source
// or the reduce step too.
#pragma once

#include <atomic>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "data_link.hpp"
#include "job_runner.hpp"
#include "link.hpp"

namespace bulkhead::worker {

class IsolatedRun final : public LinkHandler {
 public:
  IsolatedRun(const v1::Boot& boot, const program::ErasedJobs& program, wire::CrashPage* page,
              Link& link, DataLink& data);

  // The main goroutine: takes what comes over the data plane, until the process ends.
  void main();

  void on_welcome() override { welcomed_.close(); }
  void on_message(v1::ToWorker&& message) override;
  bool quiescent() override;

 private:
  void take_messages();
  void take_message(v1::ToWorker&& message);
  void begin_job(std::uint64_t index, std::string input, std::optional<v1::PlannedFault> fault);
  void run_job(std::uint64_t index, const std::string& bytes, const v1::PlannedFault* fault);
  void end_job();
  std::uint32_t take_credit();
  void run_source(std::uint64_t from);
  void run_reduce(std::uint64_t jobs);
  std::uint64_t low_water() const;

  const v1::Boot& boot_;
  const program::ErasedJobs& program_;
  wire::CrashPage& page_;
  Link& link_;
  DataLink& data_;
  JobRunner runner_;

  std::atomic<bool> draining_{false};  // relaxed to begin a job: one that still does is no harm
  // Jobs received, and of those, begun or dropped, worked on to the end, and ended (their result is
  // on its way) or dropped.
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> begun_{0};
  std::atomic<std::uint64_t> worked_{0};
  std::atomic<std::uint64_t> ended_{0};
  std::uint64_t granted_ = 0;  // credit asked for so far; under the lock of the data link's sender
  bool closing_ = false;       // link thread only
  std::atomic<bool> closed_{false};

  static constexpr std::size_t kSourceWindow = 1
                                               << 16;  // the coordinator's credit never exceeds it
  static constexpr std::size_t kReduceBatches = 16;
  sched::Channel<char> source_credit_{kSourceWindow};
  sched::Channel<v1::ReduceResults> reduce_batches_{kReduceBatches};
  sched::Channel<char> welcomed_{0};  // closed then
  sched::Channel<char> never_{0};
};

}  // namespace bulkhead::worker
