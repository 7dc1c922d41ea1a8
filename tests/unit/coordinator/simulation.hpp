// A whole run in virtual time: the real Supervisor and a real Dispatch, and around them simulated
// workers, pipes and a simulated machine, all driven by one seed.
//
// What can happen is what can happen outside: messages take their time and keep their order within
// one worker only; those still in a dying worker are lost, those in the pipe may come before or
// after the news of its death; workers die at any instant, hang, or are never launched; jobs kill
// their worker, by a signal that its handler sees or by one that nobody sees, or throw.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "dispatch/dispatch.hpp"
#include "supervise/supervisor.hpp"

namespace bulkhead::coordinator {

// What the seed has drawn.
struct SimulatedPlan {
  explicit SimulatedPlan(std::uint64_t seed);
  bool shared = false;
  std::uint32_t workers = 1;
  std::size_t processors = 1;  // of each worker
  std::uint64_t jobs = 0;
  std::uint32_t max_attempts = 3;
  std::uint32_t in_flight = 8;
  int kills = 0;    // from outside
  double rate = 0;  // jobs in a second of an open loop; 0: a closed one
  bool rough_start = false;
  std::set<std::uint64_t> segv, kill;     // poison: end their worker at every attempt
  std::set<std::uint64_t> throws, flaky;  // at every attempt; at the first alone
  std::vector<FaultSpec> faults;
  bool is_poison(std::uint64_t job) const { return segv.contains(job) || kill.contains(job); }
};

class Simulation {
 public:
  explicit Simulation(std::uint64_t seed);
  ~Simulation();

  // Runs to the end and checks everything that must hold: the first violation, or nothing.
  std::string run();
  bool answered() const { return dispatch_->answer().has_value(); }
  std::uint64_t crashes() const { return crashes_; }
  std::uint64_t late_messages() const { return late_messages_; }

 private:
  struct Worker;
  using WorkerPointer = std::shared_ptr<Worker>;

  // The machine.
  void at(base::Duration delay, std::function<void()> what);
  base::Duration random_time(int most_microseconds);
  bool chance(double probability);
  void launch(WorkerKey key);
  void die(const WorkerPointer& worker, std::optional<int> code, std::optional<int> signal);
  void kill_somebody();
  void send_up(const WorkerPointer& worker, v1::ToCoordinator message);
  void send_down(WorkerKey key, v1::ToWorker message);

  // The coordinator's loop.
  void settle();
  void take_message(WorkerKey key, v1::ToCoordinator&& message);
  void take_exit(const WorkerPointer& worker, std::optional<int> code, std::optional<int> signal);
  void stop(const std::string& reason);

  // The workers.
  void worker_takes(const WorkerPointer& worker, v1::ToWorker&& message);
  void start_jobs(const WorkerPointer& worker);
  void start_attempt(const WorkerPointer& worker, std::size_t slot, v1::Job job,
                     std::uint32_t failures);
  void end_attempt(const WorkerPointer& worker, std::size_t slot, v1::Job job,
                   std::uint32_t failures);
  void flush(const WorkerPointer& worker, bool summary = false);
  void answer_up(const WorkerPointer& worker, std::uint64_t sum, std::uint64_t jobs);
  void begin_program(const WorkerPointer& worker);
  void run_source(const WorkerPointer& worker);
  void checkpoint_later(const WorkerPointer& worker);
  void say_goodbye_when_idle(const WorkerPointer& worker);

  void violated(const std::string& what) {
    if (violation_.empty()) violation_ = what;
  }
  void check_end();

  std::mt19937_64 random_;
  SimulatedPlan plan_;
  Supervisor supervisor_;
  std::unique_ptr<Dispatch> dispatch_;
  base::TimePoint now_{std::chrono::hours(1)};
  std::map<std::pair<base::TimePoint, std::uint64_t>, std::function<void()>> events_;
  std::uint64_t sequence_ = 0;
  std::optional<base::TimePoint> wake_at_;
  std::map<WorkerKey, WorkerPointer> workers_;
  std::set<WorkerKey> ended_;
  bool begun_ = false;
  bool ending_ = false;
  std::string violation_;

  // The truth, to hold the accounts against.
  std::vector<std::uint32_t> starts_;  // of each job
  std::vector<std::uint32_t> deaths_;  // of each job: named, or in a slot without a name
  std::uint32_t source_deaths_ = 0;
  std::uint32_t reduce_deaths_ = 0;
  std::uint64_t errors_taken_ = 0;
  std::vector<std::uint64_t> fired_;
  std::uint64_t crashes_ = 0;
  std::uint64_t late_messages_ = 0;
  std::optional<wire::OpenLoop> open_loop_;
  std::uint64_t latencies_ = 0;
};

// One incarnation: its process, its crash page and its ends of the pipes.
struct Simulation::Worker {
  WorkerKey key;
  v1::Boot boot;
  bool exists = false;
  bool alive = true;
  bool welcome = false;  // the coordinator has taken its hello
  bool draining = false;
  wire::CrashSnapshot page;
  base::TimePoint launched_at{};
  base::TimePoint last_up{};  // no message arrives before an earlier one
  base::TimePoint last_down{};
  std::deque<std::shared_ptr<bool>> undelivered;  // true: it will never arrive

  std::vector<std::optional<std::uint64_t>> slots;  // what the crash page shows
  std::deque<v1::Job> queue;
  std::vector<v1::JobResult> ended;  // not sent yet

  bool source = false;
  std::uint64_t source_next = 0;
  std::uint64_t source_credit = 0;
  bool reducing = false;
  std::uint64_t reduce_next = 0;
  std::uint64_t sum = 0;
  std::uint64_t reduce_jobs = 0;

  std::map<std::uint64_t, bool> known;  // shared: outcome (true: a result) by job
  std::deque<v1::Job> solo;
  bool answered = false;
  bool paced = false;  // it waits for a job to become due

  bool idle() const {
    return std::none_of(slots.begin(), slots.end(), [](const auto& slot) { return slot; });
  }
};

// What a job adds to the answer.
inline std::uint64_t weight(std::uint64_t job) { return (job + 1) * 0x9e3779b97f4a7c15u; }

}  // namespace bulkhead::coordinator
