// The life of every worker of one run, as a plain state machine: events and a clock in, actions
// out.
//
//   launching -> handshaking -> ready -> draining -> exited
//       each state but `ready` has a deadline; any state may go to exited.
//   exited -> launching (incarnation + 1), at once or after a backoff, or the worker is given up.
//
// After Erlang/OTP's supervisors. Backoff counts the deaths of a worker that brought nothing, so
// that one that dies now and then lives for ever and one that dies at every start does not. A limit
// of restarts, where there is one, counts those of all workers, fruitful or not.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <random>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "host/host.hpp"
#include "supervise/restart_limit.hpp"

namespace bulkhead::coordinator {

enum class WorkerState { kLaunching, kHandshaking, kReady, kDraining, kExited };
const char* to_string(WorkerState state);

struct SupervisorSettings {
  std::uint32_t workers = 1;
  base::Duration launch_deadline = std::chrono::seconds(20);
  base::Duration handshake_deadline = std::chrono::seconds(20);
  base::Duration drain_deadline = std::chrono::milliseconds(800);  // then SIGTERM
  base::Duration term_deadline = std::chrono::milliseconds(300);   // then SIGKILL to the group
  base::Duration first_backoff = std::chrono::milliseconds(50);
  base::Duration most_backoff = std::chrono::seconds(5);
  std::uint32_t barren_limit = 5;        // deaths in a row that brought nothing, then given up
  std::optional<RestartLimit> restarts;  // the worker whose restart would exceed it is given up
  // A tick later than this after the one before says that the coordinator itself was paused: no
  // deadline may count that time. While there is a deadline, next_deadline() asks for ticks twice
  // as often, so that a loop which merely had nothing to do is never taken for a paused one.
  base::Duration own_lag = std::chrono::milliseconds(500);
  std::uint64_t seed = 1;
};

struct LaunchWorker {
  WorkerKey key;
};
struct DrainWorker {
  WorkerKey key;
};
struct TerminateWorker {
  WorkerKey key;
};
struct KillWorker {
  WorkerKey key;
};
using SupervisorAction = std::variant<LaunchWorker, DrainWorker, TerminateWorker, KillWorker>;

// How one incarnation ended: exactly one for each that was launched.
struct WorkerEnd {
  WorkerKey key;
  WorkerState state = WorkerState::kLaunching;  // when it ended
  // finished, exited, signalled, hung, limit, killed by us, lost, not launched
  std::string verdict;
  std::string reason;  // why we killed it, or what went wrong
  bool is_crash = false;
};

// A worker that will not be launched again.
struct GivenUpWorker {
  std::uint32_t worker = 0;
  std::string reason;
};

class Supervisor {
 public:
  explicit Supervisor(const SupervisorSettings& settings);

  // Events.
  void start(base::TimePoint now);
  void launched(WorkerKey key, base::TimePoint now);
  // Whether the worker was being waited for; false refuses a second hello, or one out of time.
  bool hello(WorkerKey key, base::TimePoint now);
  void goodbye(WorkerKey key);
  // The worker broke the protocol, or a deadline of ours: SIGKILL, with this reason.
  void condemn(WorkerKey key, const std::string& reason);
  // Its user's code has hung or gone beyond its limit: SIGKILL, and a crash with this verdict.
  void condemn_crash(WorkerKey key, const std::string& verdict, const std::string& reason);
  WorkerEnd launch_failed(WorkerKey key, const std::string& error, base::TimePoint now);
  // The launcher died with this launch in its hands; the worker, if there ever was one, is gone.
  WorkerEnd launch_lost(WorkerKey key, base::TimePoint now);
  // `fruitful`: this incarnation finished a job, or a job was blamed for its death.
  WorkerEnd exited(WorkerKey key, std::optional<int> exit_code, std::optional<int> signal,
                   bool fruitful, base::TimePoint now);
  // A ready worker is to end, for no fault of its own, and the next incarnation to follow at once;
  // that is no restart.
  void replace(WorkerKey key, base::TimePoint now);
  // The run is over (without a reason) or interrupted (with one): no restarts, every worker drains.
  void drain(const std::string& reason, base::TimePoint now);
  void kill_all(const std::string& reason);
  void tick(base::TimePoint now);

  std::vector<SupervisorAction> take_actions() { return std::exchange(actions_, {}); }
  std::optional<base::TimePoint> next_deadline() const;

  WorkerState state(WorkerKey key) const;  // kExited for an incarnation that is not the current one
  bool is_current(WorkerKey key) const;
  std::vector<WorkerKey> ready() const;
  // Every worker is ready or has been given up.
  bool all_started() const;
  bool all_exited() const;  // and none waits for a restart
  bool all_given_up() const;
  // In the order in which they were given up.
  const std::vector<GivenUpWorker>& given_up() const { return given_up_; }

 private:
  struct Worker {
    WorkerState state = WorkerState::kExited;
    std::uint32_t incarnation = 0;
    std::optional<base::TimePoint> deadline;
    base::TimePoint deadline_set_at;
    std::optional<base::TimePoint> restart_at;  // while exited
    std::string last_end;                       // why it must be
    std::uint32_t barren = 0;
    bool given_up = false;
    bool said_goodbye = false;
    bool terminated = false;               // SIGTERM was sent
    bool replaced = false;                 // another incarnation follows
    std::optional<std::string> condemned;  // why we kill it
    std::string crash_verdict;             // where that is the fault of the user's code
  };

  Worker* find(WorkerKey key);
  static void set_deadline(Worker& worker, base::Duration time, base::TimePoint now);
  void launch(std::uint32_t worker, base::TimePoint now);
  void restart(std::uint32_t worker, base::TimePoint now);
  void give_up(std::uint32_t worker, const std::string& after);
  void after_end(std::uint32_t worker, bool fruitful, const std::string& what, base::TimePoint now);
  void start_draining(std::uint32_t worker, base::TimePoint now);

  SupervisorSettings settings_;
  std::map<std::uint32_t, Worker> workers_;
  std::vector<SupervisorAction> actions_;
  std::mt19937_64 random_;
  std::optional<base::TimePoint> last_tick_;
  bool draining_ = false;
  std::string drain_reason_;
  std::vector<GivenUpWorker> given_up_;
  std::deque<base::TimePoint> restarts_;  // those of the last period, where they are limited
};

}  // namespace bulkhead::coordinator
