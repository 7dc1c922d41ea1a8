// Dispatch of a network, under every model: its tasks are the ledger's jobs. They begin when every
// worker is ready, and depend on one another, so when one of them or of their workers fails all
// begin anew, with new workers: an attempt is done as a whole or not at all.
#pragma once

#include <map>

#include "dispatch/dispatch.hpp"

namespace bulkhead::coordinator {

class NetworkDispatch final : public Dispatch {
 public:
  // `tasks`: their names, by place; `workers`: 1..W, all of which it takes.
  NetworkDispatch(const DispatchSettings& settings, std::vector<std::string> tasks,
                  std::uint32_t workers);

  void fill_boot(v1::Boot& boot) const override;
  void worker_ready(WorkerKey key) override;
  void begin() override;
  Result<void> message(WorkerKey key, v1::ToCoordinator&& message) override;
  void late_message(WorkerKey, v1::ToCoordinator&&) override {}
  Loss worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blame,
                   const std::string& reason) override;
  std::uint64_t at_risk(WorkerKey, const wire::CrashSnapshot&) const override { return 0; }
  std::vector<WorkerKey> take_replaced() override { return std::exchange(replaced_, {}); }
  bool was_at_work(WorkerKey key) const override { return members_.contains(key); }

  std::uint32_t attempt() const { return attempt_; }
  // Of the attempt that gave the answer.
  std::uint64_t units() const { return units_; }
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }
  std::uint64_t values() const { return values_; }  // of the messages those that are no credit

 private:
  enum class Phase : std::uint8_t { kGathering, kRunning };

  void begin_when_all_ready();
  // Whatever has come of this attempt is void; its workers, but for `dead`, are replaced.
  void fail_attempt(std::optional<WorkerKey> dead);
  std::uint32_t worker_of(std::size_t task) const;
  Result<void> take_end(WorkerKey key, const v1::TaskEnded& ended);
  void finish_when_all_ended();

  const std::vector<std::string> tasks_;
  const std::uint32_t workers_;
  bool begun_ = false;
  Phase phase_ = Phase::kGathering;
  std::uint32_t attempt_ = 0;
  std::map<std::uint32_t, WorkerKey> gathered_;  // ready, for the next attempt
  std::set<WorkerKey> members_;                  // of the attempts so far, until they end
  std::set<WorkerKey> current_;                  // of the one that runs
  std::vector<WorkerKey> replaced_;
  std::optional<Loss> lost_;         // by the last attempt, until a death takes it
  std::uint32_t lost_in_a_row_ = 0;  // attempts that ended by a lost peer, since somebody died
  base::TimePoint attempt_began_{};

  // Of the attempt that runs.
  std::vector<std::optional<double>> ended_;  // seconds that each task took
  std::optional<v1::Answer> given_;
  std::uint64_t units_ = 0;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  std::uint64_t values_ = 0;
};

}  // namespace bulkhead::coordinator
