// The flags of each command, and the texts of --help and --version. Each help fits one screen.
#include "cli/flags.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr const char* kTopHelp =
    R"(bulkhead runs one program under several execution models, breaks it on purpose, and
shows what each model costs and what it saves.

Usage: bulkhead COMMAND [FLAGS]

  run SCENARIO      run a program under one model
  compare SCENARIO  run it under several models and show them side by side
  bench sched|ipc   what goroutines cost on this machine, and a message by each way there is
  explore PROGRAM   search the interleavings of a network for one that ends badly
  list              programs with their settings, models, faults
  doctor            what this machine can and cannot do, with reason and remedy

  --help            of bulkhead, or of a command after its name
  --version         of bulkhead

In two minutes:
  bulkhead doctor                                            is this machine fit?
  bulkhead compare wordcount --input /usr/include            what does isolation cost?
  bulkhead compare wordcount --input /usr/include --fault segv@job=20
                                                             what does it save?

Exit codes: 0 done, 1 jobs unfinished, answers differ or a schedule failed, 2 usage, 4 the
environment refused, 5 an expectation was missed, 70 a fault of bulkhead, 130/143 interrupted.
)";

// The groups that run and compare share, and their own parts around them.
constexpr const char* kRunUsage = "Usage: bulkhead run SCENARIO [FLAGS]: one program, one model\n";
constexpr const char* kCompareUsage =
    "Usage: bulkhead compare SCENARIO [FLAGS]: one program under several models, side by side\n";
constexpr const char* kRunShape = R"(
Shape
  --model M            sequential, concurrent, parallel, threads or processes (parallel)
)";
constexpr const char* kCompareShape = R"(
Shape
  --models A,B,C       models in order (sequential,concurrent,parallel,threads,processes)
)";
constexpr const char* kCompareTransports =
    "  --transports T,U  --transfers T,U   a row for each, of the isolated models, of the others\n";
constexpr const char* kShared =
    R"(  --workers W          processes of the isolated models (usable cores)
  --transport T        what their jobs cross on: zmq-ipc, unix, shm, or auto: the fastest (zmq-ipc)
  --transfer T         of values in shared memory, as a control: move, copy or encode (move)
  --route R            of a network's channels between workers: direct or coordinator (direct)
  --processors P       threads of the whole run, shared out among its workers (usable cores)
  --in-flight K  --threads N   jobs at once in the whole run (256); model threads: a pool (none)
Program
  --set NAME=VALUE     a setting, repeatable; `bulkhead list` shows them
  --input PATH...      files and folders to read, repeatable
  --worker PATH        the worker's executable (bulkhead-worker beside bulkhead)
  --launch fork|exec   fork workers from a process that has loaded it, or load it each time (fork)
  --seed N             of every random choice (1)
Break
  --fault KIND@WHERE   repeatable; kinds: `bulkhead list`; where: job=N[,times=K], rate=SHARE of all
                       jobs, worker=N[,after=T]; in a network task=NAME[,operation=N][,times=K]
  --max-attempts N     a job that took down its worker so often is quarantined (3)
  --restarts N/PERIOD  10/1s: give up the worker that dies after 10 in a second (unlimited)
  --stall T  --job-timeout T   kill a worker whose job passes no scheduling point, or runs, so long
  --timeout T          of one repetition, such as 60s (none)
  --worker-memory B    kill a worker that has more resident, such as 256MiB (none)
Measure
  --rate N/s           an open loop: job i is due at i/N, latency counts from then; or N/min (none)
  --checkpoint T  --cost on|off   shared memory's results to safety (100ms); cost of a message (on)
)";
constexpr const char* kRunRepeat = "  --repeat N           repetitions (1)\n";
constexpr const char* kCompareRepeat =
    "  --repeat N           repetitions of each model, interleaved; a warm-up is added (5)\n"
    "  --aa  --aa-set NAME=VALUE   each model as two sides: alike, or the second with this set\n";
constexpr const char* kOutput = R"(Output
  --json FILE|-        the report as JSON; - is standard output, and nothing else there
  --logs DIR           all that each worker prints, in a file each (none)
  --check              print the plan and where each value is from; start nothing
  --color WHEN         auto, always or never (auto)      --help, --version
Environment: BULKHEAD_WORKERS, _PROCESSORS, _IN_FLIGHT, _WORKER, _SEED, _MAX_ATTEMPTS, _TIMEOUT,
_CHECKPOINT, _REPEAT, _THREADS, _RESTARTS, _STALL, _JOB_TIMEOUT, _WORKER_MEMORY, _LAUNCH, _LOGS,
_RATE, _TRANSPORT stand in for their flags; NO_COLOR.

Examples
)";
constexpr const char* kRunExamples =
    R"(  bulkhead run primes --set up-to=100000000 --model processes --workers 4
  bulkhead run wordcount --input /usr/include --fault segv@job=20 --json report.json
  bulkhead run wordcount --input /usr/include --check
)";
constexpr const char* kCompareExamples =
    R"(  bulkhead compare wordcount --input /usr/include
  bulkhead compare wordcount --input /usr/include --fault segv@job=20
  bulkhead compare primes --models parallel,processes --workers 4 --repeat 10 --json -
)";

constexpr const char* kBenchHelp =
    R"(Usage: bulkhead bench sched|ipc [FLAGS]: what the scheduler's operations cost on this machine;
what a message costs between two parties

Rows, each run alone in a fresh worker, all of them once, then all of them again
sched
  yield mutex8 mix64                                    taking turns
  chan_pingpong chan_1p1c chan_4p4c select4             handing over
  spawn_join_wave spawn_join fanout_10k fib_fork fib    starting and joining
  ring503 sieve skynet                                  many, joined by channels
  timers fd_pingpong parked                             for a time, for descriptors, many that wait
ipc, with 64 B, 1 KiB and 64 KiB: there and back, and one way as fast as they are taken
  call channel threads inproc                           within a process
  shm unix zmq-ipc                                      goroutines of two processes
  channel-shm channel-unix channel-zmq-ipc rendezvous-shm   a channel between two workers
  raw-line raw-pipe raw-unix                            floors: what the machine gives

  --only A,B           these rows (all)
  --processors P       sched: of each worker; with 1 it keeps to one CPU. ipc: 1, both parties share
                       a CPU; 2, each has its own (1, then all usable cores)
  --runs R             of each row; from 5 up with a 95 % interval of the median (5)
  --all-sizes          ipc: 8 B and 1 MiB as well
  --json FILE|-        the report as JSON; - is standard output, and nothing else there
  --help, --version
Environment: BULKHEAD_PROCESSORS stands in for its flag.

Exit codes: 0 done, 1 a row gave no figures, 2 usage, 4 the environment refused, 70 a fault of
bulkhead, 130/143 interrupted (what was measured is shown).

Examples
  bulkhead bench sched
  bulkhead bench sched --only yield,chan_pingpong --processors 1 --runs 10
  bulkhead bench ipc --only shm,unix --json ipc.json
)";

constexpr const char* kExploreHelp =
    R"(Usage: bulkhead explore PROGRAM [FLAGS]: interleavings of a network, until one ends badly

PROGRAM is a network of `bulkhead list`. Each schedule is one run of it in a worker, whose choices
of who goes on follow from a seed. It ends badly when goroutines are left that nothing can wake
(deadlock), by an exception that nobody catches (panic), a failed check, a signal, an exit, a wrong
answer, or not in time. The first that does is told, with its last steps.

  --schedules N        at most so many (1000)
  --strategy S         random: each that could run is as likely as the others; or pct:D: by random
                       priorities that change at D-1 random steps, for faults of depth D (random)
  --seed S             of the first schedule; the following ones have the following seeds (1)
  --replay SEED        that schedule again, all its steps in words; with the same strategy and
                       settings it is the same run
  --schedule-timeout T a schedule that takes longer has no end (10s)
  --set NAME=VALUE     a setting, repeatable; `bulkhead list` shows them
  --input PATH...      files and folders to read, for a network that does, repeatable
  --worker PATH        the worker's executable (bulkhead-worker beside bulkhead)
  --json FILE|-        the report as JSON; - is standard output, and nothing else there
  --help, --version
Environment: BULKHEAD_SEED and BULKHEAD_WORKER stand in for their flags.

Exit codes: 0 all ended well, 1 one ended badly (a replayed one too), 2 usage, 4 the environment
refused, 70 a fault of bulkhead, 130/143 interrupted (what was searched is told).

Examples
  bulkhead explore bank --set locking=opposite
  bulkhead explore dining-philosophers --set order=naive --strategy pct:3 --schedules 10000
  bulkhead explore bank --set locking=opposite --replay 1
)";

constexpr const char* kListHelp =
    R"(Usage: bulkhead list [FLAGS]: programs with their settings, models, faults

  --worker PATH        the worker's executable (bulkhead-worker beside bulkhead; BULKHEAD_WORKER)
  --help, --version

Examples
  bulkhead list
  bulkhead list --worker ./build/bulkhead-worker
  BULKHEAD_WORKER=./my-worker bulkhead list
)";

constexpr const char* kDoctorHelp =
    R"(Usage: bulkhead doctor [FLAGS]: what this machine can and cannot do, with reason and remedy

  --json               a JSON array instead of text
  --require A,B        exit 4 when one of these capabilities is missing
  --help, --version

Examples
  bulkhead doctor
  bulkhead doctor --json
  bulkhead doctor --require pidfd,memfd-seals
)";

}  // namespace

const char* version() { return BULKHEAD_VERSION; }

std::vector<Flag> flags_of(Command command) {
  if (command == Command::kList) return {{command, "worker"}};
  if (command == Command::kDoctor) {
    return {{command, "json", FlagKind::kSwitch}, {command, "require"}};
  }
  if (command == Command::kBench) {
    return {{command, "only"},
            {command, "processors"},
            {command, "runs"},
            {command, "all-sizes", FlagKind::kSwitch},
            {command, "json"}};
  }
  if (command == Command::kExplore) {
    return {{command, "schedules"},
            {command, "strategy"},
            {command, "seed"},
            {command, "replay"},
            {command, "schedule-timeout"},
            {command, "set", FlagKind::kRepeated},
            {command, "input", FlagKind::kList},
            {command, "worker"},
            {command, "json"}};
  }
  std::vector<Flag> flags{{command, command == Command::kRun ? "model" : "models"},
                          {command, "workers"},
                          {command, "transport"},
                          {command, "transfer"},
                          {command, "route"},
                          {command, "cost"},
                          {command, "processors"},
                          {command, "in-flight"},
                          {command, "threads"},
                          {command, "set", FlagKind::kRepeated},
                          {command, "input", FlagKind::kList},
                          {command, "worker"},
                          {command, "launch"},
                          {command, "seed"},
                          {command, "fault", FlagKind::kRepeated},
                          {command, "max-attempts"},
                          {command, "restarts"},
                          {command, "stall"},
                          {command, "job-timeout"},
                          {command, "timeout"},
                          {command, "worker-memory"},
                          {command, "rate"},
                          {command, "checkpoint"},
                          {command, "repeat"},
                          {command, "json"},
                          {command, "logs"},
                          {command, "check", FlagKind::kSwitch},
                          {command, "color"}};
  if (command == Command::kCompare) {
    flags.push_back({command, "transports"});
    flags.push_back({command, "transfers"});
    flags.push_back({command, "aa", FlagKind::kSwitch});
    flags.push_back({command, "aa-set", FlagKind::kRepeated});
  }
  return flags;
}

std::vector<std::string> command_names() {
  std::vector<std::string> names;
  for (const CommandName& command : kCommands) names.emplace_back(command.name);
  return names;
}

const char* to_string(Command command) {
  for (const CommandName& known : kCommands) {
    if (known.command == command) return known.name;
  }
  return "unspecified";
}

std::string top_help() { return kTopHelp; }

std::string help_of(Command command) {
  switch (command) {
    case Command::kRun:
      return fmt::format("{}{}{}{}{}{}", kRunUsage, kRunShape, kShared, kRunRepeat, kOutput,
                         kRunExamples);
    case Command::kCompare:
      return fmt::format("{}{}{}{}{}{}{}", kCompareUsage, kCompareShape, kCompareTransports,
                         kShared, kCompareRepeat, kOutput, kCompareExamples);
    case Command::kBench:
      return kBenchHelp;
    case Command::kExplore:
      return kExploreHelp;
    case Command::kList:
      return kListHelp;
    case Command::kDoctor:
      return kDoctorHelp;
  }
  return kTopHelp;
}

}  // namespace bulkhead::coordinator
