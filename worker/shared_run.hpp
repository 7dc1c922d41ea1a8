// A shared-memory model's one worker: the whole program in one process. Values are passed by
// pointer; what is finished goes to the coordinator in bulk at each checkpoint.
#pragma once

#include <bulkhead/base/mutex.hpp>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/wire/open_loop.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "job_runner.hpp"
#include "link.hpp"

namespace bulkhead::worker {

class SharedRun final : public LinkHandler {
 public:
  SharedRun(const v1::Boot& boot, const program::ErasedJobs& program, wire::CrashPage* page,
            Link& link);

  // The main task, a goroutine or a thread: source, jobs, reduce, answer; then sleeps until the
  // process ends. What it starts with go() is of its own kind.
  void main();

  void on_message(v1::ToWorker&& message) override;
  bool quiescent() override;

 private:
  struct Record {
    program::Value value;
    std::string safe;  // encoded by an earlier incarnation, decoded when reduce needs it
    std::string error;
    double service_seconds = 0;
    double latency_seconds = 0;  // open loops
    std::uint32_t failures = 0;
    bool finished = false;
    bool is_safe = false;  // at the coordinator, or on its way in order before anything later
  };

  void run_source();
  void run_rest();
  void start_job(std::uint64_t index, program::Value input);
  void await_due(std::uint64_t index) const;
  void run_job(std::uint64_t index, const program::Value& input);
  void await_jobs();
  void run_solo_jobs();
  void finish(std::uint64_t index, Record record);
  const v1::PlannedFault* take_fault(std::uint64_t job, v1::PlannedFault& storage);
  void checkpoint();
  void send_summary();
  void reduce();
  Record& record(std::uint64_t index) BULKHEAD_REQUIRES(mutex_);

  const v1::Boot& boot_;
  const program::ErasedJobs& program_;
  Link& link_;
  JobRunner runner_;

  const std::set<std::uint64_t> solo_;
  const std::set<std::uint64_t> quarantined_;

  base::Mutex mutex_;
  // Slots are stable in memory while others are added: one heap record a job.
  std::vector<std::unique_ptr<Record>> records_ BULKHEAD_GUARDED_BY(mutex_);
  std::vector<std::uint64_t> unsafe_
      BULKHEAD_GUARDED_BY(mutex_);  // finished since the last checkpoint
  std::vector<std::uint64_t> too_large_
      BULKHEAD_GUARDED_BY(mutex_);  // finished; no message can carry the result
  std::vector<v1::PlannedFault> faults_ BULKHEAD_GUARDED_BY(mutex_);
  std::optional<wire::OpenLoop> open_loop_;              // fixed before begin_ is sent
  std::uint64_t total_ = 0;                              // the source, then reduce
  std::map<std::uint64_t, program::Value> solo_inputs_;  // the source, then the rest

  std::atomic<bool> draining_{false};
  std::atomic<std::uint64_t> running_{0};
  base::Mutex checkpoint_mutex_;  // one checkpoint at a time, in order
  sched::Channel<char> begin_{1};
  sched::Channel<char> in_flight_;
  sched::Channel<char> never_{0};
};

}  // namespace bulkhead::worker
