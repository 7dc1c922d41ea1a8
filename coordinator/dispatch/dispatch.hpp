// Who gets which work: the seam between the coordinator loop and the two ways to hand out jobs.
//
// Both implementations are plain state machines: messages and deaths in, messages out; no sockets,
// no threads, no clock: where time matters they are told it. The loop delivers what take_outgoing()
// gives and reports what happened.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <bulkhead/wire/open_loop.hpp>
#include <cstdint>
#include <functional>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dispatch/ledger.hpp"
#include "faults/fault_plan.hpp"
#include "host/host.hpp"

namespace bulkhead::coordinator {

// Of results or inputs in one message, about.
inline constexpr std::size_t kBatchBytes = 1u << 20;

struct DispatchSettings {
  std::uint32_t in_flight = 256;  // of the whole run
  std::uint32_t max_attempts = 3;
  std::string spill_directory;
  std::size_t memory_limit = 1u << 20;  // of results, before they spill
  std::vector<FaultSpec> faults;        // index = counter on the crash page
  std::uint64_t seed = 1;               // of faults by rate
  double rate_per_second = 0;           // of an open loop; 0: a closed one
};

// What `a` has more than `b`; counts that come from a crash page need not agree with ours.
constexpr std::uint64_t less(std::uint64_t a, std::uint64_t b) { return a > b ? a - b : 0; }

struct Outgoing {
  WorkerKey to;
  v1::ToWorker message;
};

// What a death cost.
struct Loss {
  std::uint64_t lost_in_flight = 0;     // started, not finished
  std::uint64_t results_lost = 0;       // finished, not arrived
  std::optional<std::uint64_t> job;     // blamed beyond doubt
  std::vector<std::uint64_t> suspects;  // blamed because they were in a slot
  // Of work that is to be done again, where that is known; else it is estimated from the counts.
  std::optional<double> seconds;
  std::uint64_t at_risk() const { return lost_in_flight + results_lost; }
};

class Dispatch {
 public:
  explicit Dispatch(const DispatchSettings& settings);
  virtual ~Dispatch() = default;

  // The time of all that is reported next; it never goes back. Only open loops look at it.
  void set_time(base::TimePoint now) { now_ = now; }
  // Hands out what has become due since.
  virtual void tick() {}
  // When tick() will have something to hand out; nothing while it is not time that lacks.
  virtual std::optional<base::TimePoint> next_due() const { return {}; }

  // What a new incarnation must know; called before each launch.
  virtual void fill_boot(v1::Boot& boot) const;
  // The worker has shaken hands.
  virtual void worker_ready(WorkerKey key) = 0;
  // Every worker is ready, or past its deadline: work may begin. In an open loop job 0 is due now.
  virtual void begin() = 0;
  // A message of a ready worker. An error ends that worker with the stated reason.
  virtual Result<void> message(WorkerKey key, v1::ToCoordinator&& message) = 0;
  // What a worker that has just died kept on its crash page, before worker_lost(): any bytes.
  virtual void kept_results(WorkerKey, const std::vector<std::string>&) {}
  // A message of an incarnation whose death was reported already.
  virtual void late_message(WorkerKey key, v1::ToCoordinator&& message) = 0;
  // A ready worker is dead. `reason` goes into the note of a job that this puts into quarantine.
  // `blame` is false when we killed it for a reason that no job is guilty of.
  virtual Loss worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blame,
                           const std::string& reason) = 0;
  // Started and not safe, seen from the worker's crash page now.
  virtual std::uint64_t at_risk(WorkerKey key, const wire::CrashSnapshot& snapshot) const = 0;

  // Ready workers that are to end and be replaced, for no fault of theirs.
  virtual std::vector<WorkerKey> take_replaced() { return {}; }
  // It has brought something, or another was to blame that it did not: it starts again at once.
  virtual bool was_at_work(WorkerKey) const { return false; }

  // The answer is here, or can never come.
  bool finished() const { return answer_.has_value() || !failure_.empty(); }
  const std::optional<v1::Answer>& answer() const { return answer_; }
  const std::string& failure() const { return failure_; }  // why there will be no answer
  void give_up(const std::string& why) {
    if (!finished()) failure_ = why;
  }

  std::vector<Outgoing> take_outgoing() { return std::exchange(outgoing_, {}); }
  const Ledger& ledger() const { return ledger_; }
  bool source_ended() const { return source_ended_; }
  // Jobs that the source has yielded so far (all of them once it ended).
  std::uint64_t known_jobs() const { return ledger_.size(); }

  // How often each planned fault has fired, over all incarnations.
  const std::vector<std::uint64_t>& fired() const { return fired_; }
  // Takes over the counters of a crash page, which only ever grow within one incarnation.
  void count_fired(WorkerKey key, const wire::CrashSnapshot& snapshot);

  // Seconds that each job took, as it became safe.
  std::function<void(double)> on_service = [](double) {};
  // Open loops: seconds from the intended start of each job that is done until its result was where
  // reduce takes it, in the coordinator or in the one worker.
  std::function<void(double)> on_latency = [](double) {};

 protected:
  v1::ToWorker& send(WorkerKey key) { return outgoing_.emplace_back(Outgoing{key, {}}).message; }
  // Adds blames: to the job that the handler named, else to every job in a slot. Pseudo jobs
  // included; they end the run when they have used up their attempts. The page is a hint: of real
  // jobs, only those that the worker `held` can be blamed.
  void blame(const wire::CrashSnapshot& snapshot, const std::string& reason,
             const std::function<bool(std::uint64_t)>& held, Loss& loss);
  void pseudo_failure(bool reduce, const std::string& error);
  std::uint32_t still_to_fire(std::size_t fault) const;
  // The fault that the next attempt of `job` meets.
  std::optional<std::size_t> next_fault(std::uint64_t job) const;
  // A fault that left its worker alive: counted now, and not again when its page is read.
  void count_fired_once(WorkerKey key, std::size_t fault, std::uint64_t job);

  void start_open_loop() {
    if (settings_.rate_per_second > 0) open_loop_.emplace(settings_.rate_per_second, now_);
  }

  DispatchSettings settings_;
  base::TimePoint now_{};
  std::optional<wire::OpenLoop> open_loop_;  // from the beginning of an open loop on
  Ledger ledger_;
  std::optional<v1::Answer> answer_;
  std::string failure_;
  bool source_ended_ = false;

 private:
  std::vector<std::uint32_t>& fired_by(WorkerKey key);

  std::vector<Outgoing> outgoing_;
  std::vector<std::uint64_t> fired_;
  std::vector<std::pair<WorkerKey, std::vector<std::uint32_t>>>
      fired_by_;                                             // last seen per incarnation
  std::set<std::pair<std::uint32_t, std::uint64_t>> spent_;  // fault by rate, job
  std::uint32_t source_failures_ = 0;                        // since jobs have ended last
  std::uint64_t source_progress_ = 0;  // final jobs when the source was blamed last
  std::uint32_t reduce_failures_ = 0;
};

}  // namespace bulkhead::coordinator
