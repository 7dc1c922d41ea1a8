// One run: one program under one model, from the first launch to the last exit.
//
// The decisions are made by two state machines (supervise/, dispatch/); the loop here waits, feeds
// them what happened, and carries out what they say. Single-threaded.
#pragma once

#include <bulkhead/v1/control.pb.h>
#include <bulkhead/v1/report.pb.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/connection.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "crossing_costs.hpp"
#include "data_plane.hpp"
#include "dispatch/network_dispatch.hpp"
#include "evidence/crash_traces.hpp"
#include "host/host.hpp"
#include "host/memory_cgroup.hpp"
#include "interrupts.hpp"
#include "relay.hpp"
#include "report/histogram.hpp"
#include "supervise/stall_watch.hpp"
#include "supervise/supervisor.hpp"

namespace bulkhead::coordinator {

// What lives for the whole command; borrowed.
struct Environment {
  Host& host;
  transport::Router& router;
  Interrupts& interrupts;
  CrashTraces& traces;
  std::string run_directory;
  std::string socket_name;
};

struct RunSettings {
  v1::Model model = v1::MODEL_PARALLEL;
  std::uint32_t workers = 1;
  std::uint32_t processors_per_worker = 1;
  std::uint32_t in_flight = 256;                         // of the run
  transport::Kind transport = transport::Kind::kZmqIpc;  // of an isolated model's data plane
  std::string transfer;                                  // of a shared-memory model, as in Boot
  std::uint32_t threads = 0;  // model threads: of the pool; 0: a thread a job
  std::string worker_executable;
  bool fork_workers = true;  // see LaunchSpec::fork
  std::string program;
  std::vector<std::string> tasks;  // of a network, by place; none: a jobs program
  bool route_coordinator = false;  // a network's channels between workers go through us
  bool cost = true;                // what crosses is sampled, for what it costs by part
  std::string program_digest;
  std::map<std::string, std::string> settings;
  std::set<std::string> outputs;     // settings that name a file which the program writes
  double iterations_per_second = 0;  // of synthetic work, calibrated; 0: not wanted
  std::vector<std::string> inputs;
  std::vector<FaultSpec> faults;
  double rate_per_second = 0;  // of an open loop; 0: jobs begin when there is room
  std::uint32_t max_attempts = 3;
  std::optional<RestartLimit> restarts;  // nothing: as many as it takes
  std::optional<base::Duration> checkpoint;
  std::optional<base::Duration> timeout;
  std::optional<base::Duration> stall;        // a job in its slot without a scheduling point: hung
  std::optional<base::Duration> job_timeout;  // of one attempt, whatever it does
  std::uint64_t memory_limit = 0;             // bytes that a worker may have resident; 0: any
  std::uint64_t seed = 1;
  std::uint32_t repetition = 1;
  // Start of the names of the files that take all that a worker prints; "": there are none.
  std::string log_prefix;
  // Called now and then with the jobs that are final and those known so far.
  std::function<void(std::uint64_t, std::uint64_t)> progress;
};

struct RunOutcome {
  v1::Repetition repetition;  // counts, times, checksum
  std::string answer_text;
  std::string reason;  // why it did not finish; empty when it did
  bool began = false;  // its workers were ready
  bool interrupted = false;
  std::vector<v1::WorkerExit> exits;
  std::vector<TraceRef> traces;  // one for each exit
  std::vector<v1::GivenUp> given_up;
  std::vector<std::uint64_t> fired;  // per fault
  // By setting: what a complete run was to write, in the run directory. Removing it is the caller's
  // business.
  std::map<std::string, std::string> files;
  Histogram service;
  Histogram latency;  // open loops only
  double work_lost_seconds = 0;
};

inline constexpr auto kHandshakeDeadline = std::chrono::seconds(20);
// A worker whose data connection has ended is mostly dead, which the host then tells.
inline constexpr auto kCutOffGrace = std::chrono::seconds(1);
// What the other descriptors of the epoll set carry; worker 0 does not exist.
inline constexpr std::uint64_t kNotALifeline = 0;

// Of this process so far; its peak left out.
Usage own_usage();
std::string random_bytes(std::size_t count);

class Coordinator final : private DataPlane::Events {
 public:
  Coordinator(const Environment& environment, const RunSettings& settings);
  ~Coordinator();

  RunOutcome run();

 private:
  // One incarnation.
  struct WorkerRecord {
    wire::CrashPageMapping page;
    base::UniqueFd lifeline;
    std::string token;
    pid_t pid = 0;           // once the launcher has told
    bool greeted = false;    // all was right with its Hello
    bool joined = false;     // the data plane
    bool was_ready = false;  // welcomed
    bool said_goodbye = false;
    bool limited_by_kernel = false;            // in a memory cgroup of its own
    std::optional<base::TimePoint> marked_at;  // its crash handler spoke, or we found it hung
    std::uint64_t hung_job = wire::kNoJob;
    std::optional<double> pss_bytes;  // when the answer came
    std::vector<v1::Module> modules;  // as it told, until it ends
  };

  // The steps of the loop, in their order.
  void wait_for_events();
  void set_due_timer();
  void take_messages();
  void take_host_events();
  void take_interrupts();
  void fire_timed_faults();
  void watch_workers();
  void begin_when_ready();
  void hand_out_due_jobs();
  void end_when_finished();
  void perform_actions();

  void note_crash_marks();
  std::string memory_reason() const;
  void condemn_hung(WorkerKey key, std::uint64_t job, const std::string& why, base::TimePoint now);
  void end_cut_links();
  void end_cut_off();
  Result<void> open_data_plane();
  Result<void> wake_for(int fd);
  void take_message(const transport::Message& message);
  void take_hello(WorkerKey key, const v1::Hello& hello);
  void welcome(WorkerKey key);
  void take_run_message(WorkerKey key, v1::ToCoordinator&& message);
  void take_goodbye(WorkerKey key);
  bool data_joined(const wire::JoinMessage& join) override;
  void data_message(WorkerKey key, v1::ToCoordinator&& message) override;
  void data_closed(WorkerKey key) override;
  void data_lost(WorkerKey key, const std::string& why) override;
  void worker_launched(WorkerKey key, pid_t pid);
  void launch(WorkerKey key);
  void launch_failed(WorkerKey key, const std::string& why);
  void launch_lost(WorkerKey key);
  void worker_exited(HostExited&& exited);
  void rescue_results(WorkerKey key, const WorkerRecord& record);
  void keep_exit(v1::WorkerExit&& exit, TraceRef trace = {});
  void record_loss(v1::WorkerExit& exit, WorkerKey key, const wire::CrashSnapshot& snapshot,
                   const WorkerEnd& end);
  void send(WorkerKey key, const v1::ToWorker& message);
  void stop(const std::string& reason);
  RunOutcome outcome();
  std::string name_of(std::uint64_t job) const;
  std::string identity(WorkerKey key) const;
  std::string run_name() const;
  // Of this incarnation alone: it may die over a file half written.
  std::string output_path(WorkerKey key, const std::string& setting) const;

  Environment environment_;
  RunSettings settings_;
  Supervisor supervisor_;
  std::unique_ptr<Dispatch> dispatch_;
  NetworkDispatch* network_ = nullptr;  // the dispatch, where it is that of a network
  std::unique_ptr<DataPlane> data_;     // of the isolated models
  std::unique_ptr<Relay> relay_;        // of a network's channels, where they go through us
  std::string data_name_;               // of the socket of either
  std::string data_token_;
  CrossingCosts costs_;
  std::map<WorkerKey, base::TimePoint> cut_off_;  // whose data connection is gone; are they, too?
  bool told_of_control_only_ = false;             // of a worker that does not speak it
  base::UniqueFd events_;                         // epoll: host, interrupts, lifelines, and
  base::UniqueFd due_;  // in an open loop the timer of the next job; epoll's own waits whole ms
  std::string run_id_;
  std::optional<WorkerKey> answered_by_;
  std::map<WorkerKey, WorkerRecord> workers_;  // every incarnation of this run

  base::TimePoint started_at_;
  std::optional<base::TimePoint> ready_at_;
  std::optional<base::TimePoint> ended_at_;
  base::TimePoint progress_at_;
  std::unique_ptr<WorkerGroups> groups_;  // where there is a memory limit, and they can be made
  std::optional<StallWatch> stall_watch_;
  std::optional<base::Duration> watch_period_;  // nothing to watch for: none
  base::TimePoint watched_at_;
  bool ending_ = false;  // draining: over, interrupted, timed out or failed
  bool interrupted_ = false;
  int interrupts_seen_ = 0;
  std::string reason_;
  std::vector<bool> timed_fault_done_;
  Usage workers_usage_;  // summed; its peak is the largest
  Usage own_usage_before_;
  double lent_seconds_ = 0;     // summed over the workers' processors lent
  double alone_seconds_ = 0;    // summed over the workers
  double service_seconds_ = 0;  // summed over safe jobs
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
  RunOutcome outcome_;
  std::map<std::uint32_t, std::size_t> awaiting_recovery_;  // worker -> index into exits
  std::map<std::uint32_t, base::TimePoint> died_at_;
};

}  // namespace bulkhead::coordinator
