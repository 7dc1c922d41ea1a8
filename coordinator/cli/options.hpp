// The command line, resolved: flag > BULKHEAD_* environment > default, each value with its source.
#pragma once

#include <bulkhead/v1/common.pb.h>
#include <bulkhead/v1/control.pb.h>
#include <bulkhead/v1/report.pb.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/transport/connection.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "faults/fault_plan.hpp"
#include "supervise/restart_limit.hpp"

namespace bulkhead::coordinator {

// Exit codes of the command, as the README lists them.
enum ExitCode : int {
  kExitDone = 0,
  kExitUnfinished = 1,
  kExitUsage = 2,
  kExitScenario = 3,
  kExitEnvironment = 4,
  kExitExpectation = 5,
  kExitInternal = 70,
  kExitInterrupted = 130,
  kExitTerminated = 143,
};

enum class Command { kRun, kCompare, kBench, kExplore, kList, kDoctor };

struct Options {
  Command command = Command::kRun;
  std::string scenario;           // name of a program; of a bench; of a network to explore
  std::vector<v1::Model> models;  // run: one; compare: in order, no duplicates
  std::uint32_t workers = 0;      // isolated models; default: usable cores
  std::uint32_t processors = 0;   // total of a run; default: usable cores
  // Of the isolated models; run: one; compare: in order, no duplicates.
  std::vector<transport::Kind> transports;
  std::vector<std::string> transfers;  // likewise of the shared-memory models: move, copy, encode
  bool route_coordinator = false;      // a network's channels between workers
  bool cost = true;                    // see RunSettings
  std::uint32_t in_flight = 256;       // of the whole run
  double rate_per_second = 0;          // of an open loop; 0: a closed one
  std::uint32_t threads = 0;           // model threads: a pool of so many; 0: a thread a job
  std::vector<std::pair<std::string, std::string>> settings;  // --set, raw, in order
  std::vector<std::string> inputs;                            // --input, exist
  std::string worker_path;        // the worker's executable; default: beside /proc/self/exe
  bool fork_workers = true;       // --launch, see RunSettings
  std::uint64_t seed = 0;         // default 1
  std::vector<FaultSpec> faults;  // at most 64
  std::uint32_t max_attempts = 3;
  std::optional<RestartLimit> restarts;   // nothing: no limit
  std::optional<base::Duration> timeout;  // of one repetition
  std::optional<base::Duration> stall;    // see RunSettings
  std::optional<base::Duration> job_timeout;
  std::uint64_t memory_limit = 0;            // of one worker, bytes; 0: any
  std::optional<base::Duration> checkpoint;  // nothing: never
  std::uint32_t repeat = 1;                  // compare: default 5
  bool warm_up = false;  // compare with repeat > 1: one repetition more, thrown away
  // compare: each model has two sides, run like two models; the second has these settings on top.
  bool aa = false;
  std::vector<std::pair<std::string, std::string>> aa_settings;
  std::string json;    // "", a path, or "-"
  std::string logs;    // "", or the directory of the workers' logs, without a slash at its end
  bool check = false;  // print the plan, start nothing
  bool color = false;
  bool progress = false;  // standard error is a terminal
  bool doctor_json = false;
  std::vector<std::string> only;                // bench --only a,b: these rows; empty: all
  std::vector<std::uint32_t> bench_processors;  // each row runs with each of them
  std::uint32_t runs = 5;                       // of each row of a bench
  bool all_sizes = false;                       // bench ipc: of messages
  // explore
  std::uint64_t schedules = 1000;       // from `seed` on, one each
  std::uint32_t depth = 0;              // --strategy pct:D; 0: random
  base::Duration schedule_timeout{};    // of one
  std::optional<std::uint64_t> replay;  // this seed alone, with all its steps
  std::vector<std::string> require;     // doctor --require a,b: exit 4 when one is missing
  std::vector<v1::PlanEntry> plan;      // every option: value and source
  std::vector<std::string> command_line;
};

// What main() should do instead of going on: print `text` as it is, newline included (to stderr
// unless code is 0), and exit with `code`. A mistake's text starts with "bulkhead: ".
struct Stop {
  int code = 0;
  std::string text;
};

// bulkhead's own version, as --version and the report give it.
const char* version();

// Reads arguments and environment. Stop for --help, --version and every mistake (one line: what was
// wrong, what would be right).
tl::expected<Options, Stop> parse_command_line(int argc, const char* const* argv);

// The program's settings in canonical text, defaults filled in; or Stop with kExitUsage for an
// unknown program (of a kind that the command runs), an unknown or malformed setting, a missing or
// needless --input.
tl::expected<std::map<std::string, std::string>, Stop> resolve_settings(
    const Options& options, const v1::WorkerDescription& description);
// A jobs program, or a network with tasks.
const v1::ProgramDescription* find_program(const v1::WorkerDescription& description,
                                           const std::string& name);
// Sees to it that what is asked for suits the kind of program, and finds the tasks of the faults.
tl::expected<void, Stop> resolve_tasks(Options& options, const v1::ProgramDescription& program);

// For --check, and for `bulkhead list`.
std::string render_plan(const Options& options, const std::map<std::string, std::string>& settings);
std::string render_list(const v1::WorkerDescription& description);

const char* to_string(v1::Model model);
bool is_isolated(v1::Model model);

// At most so many workers fit this process's descriptors over any of these transports; never more
// than 1024. Raises the soft limit to the hard one, for good: the coordinator needs the room.
std::uint32_t max_workers(const std::vector<transport::Kind>& transports);

}  // namespace bulkhead::coordinator
