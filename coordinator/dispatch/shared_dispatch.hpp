// Dispatch of the shared-memory models: one worker that runs the whole program. Here: what is safe
// (its checkpoints), and what a new incarnation must be told.
#pragma once

#include "dispatch/dispatch.hpp"

namespace bulkhead::coordinator {

class SharedDispatch final : public Dispatch {
 public:
  explicit SharedDispatch(const DispatchSettings& settings) : Dispatch(settings) {}

  void fill_boot(v1::Boot& boot) const override;
  void worker_ready(WorkerKey key) override;
  void begin() override;
  Result<void> message(WorkerKey key, v1::ToCoordinator&& message) override;
  void late_message(WorkerKey key, v1::ToCoordinator&& message) override;
  Loss worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blame,
                   const std::string& reason) override;
  std::uint64_t at_risk(WorkerKey key, const wire::CrashSnapshot& snapshot) const override;

 private:
  Result<void> take_checkpoint(v1::ResultBatch&& batch);
  void stream_safe_results();
  void take_answer(v1::Answer&& answer);
  std::uint64_t attempts(const v1::JobResult& entry) const;
  void note_times(const v1::JobResult& entry) const;

  bool begun_ = false;
  std::optional<WorkerKey> worker_;
  std::uint64_t received_ = 0;   // executions of this incarnation whose outcome is safe
  std::uint64_t next_safe_ = 0;  // first job not looked at for the resume stream
  std::uint32_t resume_credit_ = 0;
  bool begin_sent_ = false;
  std::vector<v1::JobResult> summary_;  // counts when the answer arrives
};

}  // namespace bulkhead::coordinator
