// Dispatch of the isolated models: W workers, jobs leased to them within their credit.
//
// Where an open job is: in `queue_` (not yet due, or never begun, or begun and lost), in `solo_` (a
// suspect that waits to run alone), or in exactly one worker's `leased`. Inputs stay here until
// their job is final, in a bounded window that the source's credit keeps.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <utility>
#include <vector>

#include "dispatch/dispatch.hpp"

namespace bulkhead::coordinator {

class IsolatedDispatch final : public Dispatch {
 public:
  explicit IsolatedDispatch(const DispatchSettings& settings);

  void worker_ready(WorkerKey key) override;
  void begin() override;
  void tick() override { advance(); }
  std::optional<base::TimePoint> next_due() const override;
  Result<void> message(WorkerKey key, v1::ToCoordinator&& message) override;
  void kept_results(WorkerKey key, const std::vector<std::string>& encoded) override;
  void late_message(WorkerKey key, v1::ToCoordinator&& message) override;
  Loss worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blame,
                   const std::string& reason) override;
  std::uint64_t at_risk(WorkerKey key, const wire::CrashSnapshot& snapshot) const override;

 private:
  struct Worker {
    std::uint32_t credit = 0;
    std::unordered_set<std::uint64_t> leased;
    std::uint64_t received = 0;  // results that arrived from this incarnation
    std::uint32_t reduce_credit = 0;
    std::optional<std::uint64_t> suspect;  // takes no other job until this one is settled
  };

  Result<void> take_results(WorkerKey key, Worker& worker, v1::ResultBatch&& batch);
  Result<void> take_inputs(WorkerKey key, v1::InputBatch&& batch);
  void settle(v1::JobResult&& result);
  void requeue(std::uint64_t job, bool front);
  void drop_input(std::uint64_t job);
  // What can be done now is done: source opened and fed, jobs leased, results streamed to reduce.
  void advance();
  void feed_source();
  void lease_jobs();
  std::size_t choose(const std::vector<std::pair<WorkerKey, Worker*>>& able);
  void lease_suspect();
  v1::Job make_job(std::uint64_t job) const;
  void take_lease(Worker& worker, std::uint64_t job);
  void reduce();
  Worker* find(WorkerKey key);
  bool every_job_final() const { return source_ended_ && ledger_.final_count() == ledger_.size(); }

  bool begun_ = false;
  std::map<WorkerKey, Worker> workers_;
  std::deque<std::uint64_t> queue_;
  std::deque<std::uint64_t> solo_;
  std::unordered_map<std::uint64_t, std::string> inputs_;
  std::size_t input_bytes_ = 0;                   // held in inputs_
  std::uint64_t all_input_bytes_ = 0;             // ever received: gives the mean size
  std::map<std::uint64_t, WorkerKey> lost_from_;  // taken back from a dead worker, not leased since
  std::unordered_set<std::uint64_t> rescued_;     // from a crash page; may still arrive

  std::optional<WorkerKey> source_;
  std::uint64_t source_granted_ = 0;  // inputs that the source may have sent, counted from job 0

  std::optional<WorkerKey> reducer_;
  std::uint64_t next_result_ = 0;  // first job that the reducer has not been sent
  std::size_t turn_ = 0;           // round robin
};

}  // namespace bulkhead::coordinator
