// A network's worker, whatever the model: runs those of its tasks that lie here, and joins their
// channels to the other workers. It tells the coordinator how each task ended; a network that lost
// one of its workers is begun anew, with new workers all of them.
#pragma once

#include <atomic>
#include <bulkhead/program/network.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/transport/connection.hpp>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "crossing/pipe.hpp"
#include "fault_striker.hpp"
#include "job_clock.hpp"
#include "link.hpp"
#include "transfer.hpp"

namespace bulkhead::worker {

// The tasks and channels of a boot's network: built, and known by place.
struct NetworkProgram {
  std::unique_ptr<program::ErasedNetwork> network;
  program::Net net;
  // "task 'hash'"; other tags as wire::job_name() has them.
  std::string name_of(std::uint64_t tag) const;
};

class NetworkRun final : public LinkHandler {
 public:
  // Where channels will cross, this listens for them: before the worker says Hello, so that the
  // others find it. kUnavailable, kResourceExhausted.
  static Result<std::unique_ptr<transport::Listener>> listen(const v1::Boot& boot);

  NetworkRun(const v1::Boot& boot, NetworkProgram& program, wire::CrashPage* page, Link& link,
             std::unique_ptr<transport::Listener> listener);

  // The main task, a goroutine or a thread; sleeps when it has started the others.
  void main();

  void on_message(v1::ToWorker&& message) override;
  // A drain ends what still runs: the whole network is over, or begins anew elsewhere.
  bool quiescent() override { return true; }
  // Every task of this worker has returned.
  bool all_ended() const override { return ended_.load(std::memory_order_acquire) == here_.size(); }
  // Who waits for a task that has failed will not wait for long: the coordinator knows.
  bool can_deadlock() const override { return !failed_.load(std::memory_order_relaxed); }

 private:
  // A connection for one end of a channel of this worker's.
  struct Crossing {
    std::size_t channel = 0;
    bool sends = false;
    std::shared_ptr<crossing::PipeSender> sender{};
    std::shared_ptr<crossing::PipeReceiver> receiver{};
  };

  std::uint32_t worker_of(std::size_t task) const;
  bool is_here(int task) const {
    return worker_of(static_cast<std::size_t>(task)) == boot_.worker();
  }
  void join_channels();
  Result<void> join_others(const v1::BeginNetwork& begin);
  Result<void> connect(Crossing& end, const v1::BeginNetwork& begin);
  Result<void> accept(const v1::BeginNetwork& begin);
  void adopt(Crossing& end, crossing::Port port);
  void hook_faults();
  void strike(std::size_t task, std::uint64_t operation);
  void start_tasks();
  void run_task(std::size_t task);
  void tell_end(std::size_t task, double seconds, const std::string& error, bool peer_lost);

  const v1::Boot& boot_;
  program::Net& net_;
  Link& link_;
  std::unique_ptr<transport::Listener> listener_;
  FaultStriker striker_;
  std::optional<JobClock> clock_;
  std::vector<std::size_t> here_;
  std::vector<Crossing> crossings_;
  std::deque<std::atomic<std::uint64_t>> operations_;  // of each task, where faults are planned
  std::atomic<std::size_t> ended_{0};
  std::atomic<bool> failed_{false};  // one of its tasks; relaxed: set long before the others starve
  sched::Channel<v1::BeginNetwork> begin_{1};
  sched::Channel<char> never_{0};
};

}  // namespace bulkhead::worker
