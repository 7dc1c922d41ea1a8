// An isolated model's worker: takes leased jobs, answers with results; when asked, runs the source
// or the reduce step too.
#pragma once

#include <atomic>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cstdint>
#include <memory>

#include "job_runner.hpp"
#include "link.hpp"

namespace bulkhead::worker {

class IsolatedRun final : public LinkHandler {
 public:
  IsolatedRun(const v1::Boot& boot, const program::ErasedJobs& program, wire::CrashPage* page,
              Link& link);

  // Messages are taken on a thread that has entered the scheduler.
  // The main goroutine: sleeps until the process ends, so that processors stay.
  void main();

  void on_message(v1::ToWorker&& message) override;
  std::uint32_t take_credit() override;
  base::Duration patience() const override;
  bool quiescent() override;

 private:
  void run_job(const v1::Job& job);
  void run_source(std::uint64_t from);
  void run_reduce(std::uint64_t jobs);
  std::uint64_t low_water() const;

  const v1::Boot& boot_;
  const program::ErasedJobs& program_;
  wire::CrashPage& page_;
  Link& link_;
  JobRunner runner_;

  std::atomic<bool> draining_{false};  // relaxed: a job that still begins is no harm
  // Jobs received, and of those, begun or dropped, and ended or dropped. Link thread and
  // processors.
  std::atomic<std::uint64_t> received_{0};
  std::atomic<std::uint64_t> begun_{0};
  std::atomic<std::uint64_t> ended_{0};
  std::uint64_t granted_ = 0;  // credit asked for so far; link thread only

  static constexpr std::size_t kSourceWindow = 1
                                               << 16;  // the coordinator's credit never exceeds it
  static constexpr std::size_t kReduceBatches = 16;
  sched::Channel<char> source_credit_{kSourceWindow};
  sched::Channel<v1::ReduceResults> reduce_batches_{kReduceBatches};
  sched::Channel<char> never_{0};
};

}  // namespace bulkhead::worker
