#include "compare.hpp"

#include <bulkhead/v1/report.pb.h>
#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/transport/zmq.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <memory>

#include "bench.hpp"
#include "cli/doctor.hpp"
#include "cli/output_paths.hpp"
#include "coordinator.hpp"
#include "evidence/symboliser.hpp"
#include "explore.hpp"
#include "host/local_host.hpp"
#include "host/processes.hpp"
#include "host/run_directory.hpp"
#include "inquiry.hpp"
#include "interrupts.hpp"
#include "outputs.hpp"
#include "progress.hpp"
#include "report/facts.hpp"
#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

// What all runs of a command have in common.
struct Subject {
  const v1::ProgramDescription& program;
  SettingValues settings;
  std::set<std::string> outputs;     // those of the settings that name a file to write
  double iterations_per_second = 0;  // 0: the program wants no calibration
};

int complain(int code, const std::string& text) {
  std::fprintf(stderr, "bulkhead: %s\n", text.c_str());
  return code;
}

// One row of the report.
struct Row {
  v1::Model model;
  transport::Kind transport;  // of an isolated model
  std::string transfer;       // of one in shared memory
  std::string side;
  SettingValues settings;
};

RunSettings run_settings(const Options& options, const Subject& subject, const Row& row) {
  const v1::Model model = row.model;
  RunSettings run;
  run.model = model;
  run.transport = row.transport;
  run.transfer = row.transfer;
  run.tasks = {subject.program.tasks().begin(), subject.program.tasks().end()};
  run.route_coordinator = options.route_coordinator;
  run.cost = options.cost;
  run.workers = is_isolated(model) ? options.workers : 1;
  // A worker without a task would only wait.
  if (!run.tasks.empty())
    run.workers = std::min(run.workers, static_cast<std::uint32_t>(run.tasks.size()));
  if (is_isolated(model)) {
    run.processors_per_worker = std::max(1u, options.processors / run.workers);
  } else {
    const bool all_cores = model == v1::MODEL_PARALLEL || model == v1::MODEL_THREADS;
    run.processors_per_worker = all_cores ? options.processors : 1;
  }
  run.in_flight = model == v1::MODEL_SEQUENTIAL ? 1 : options.in_flight;
  if (model == v1::MODEL_THREADS && options.threads > 0 && run.tasks.empty()) {
    run.threads = options.threads;
    run.in_flight = std::min(run.in_flight, options.threads);
  }
  run.worker_executable = options.worker_path;
  run.fork_workers = options.fork_workers;
  run.program = subject.program.name();
  run.program_digest = subject.program.digest();
  run.settings = row.settings;
  run.outputs = subject.outputs;
  run.iterations_per_second = subject.iterations_per_second;
  run.inputs = options.inputs;
  run.faults = options.faults;
  run.rate_per_second = options.rate_per_second;
  run.max_attempts = options.max_attempts;
  run.restarts = options.restarts;
  run.checkpoint = options.checkpoint;
  run.timeout = options.timeout;
  run.stall = options.stall;
  run.job_timeout = options.job_timeout;
  run.memory_limit = options.memory_limit;
  run.seed = options.seed;
  return run;
}

v1::ModelReport model_report(const RunSettings& settings) {
  v1::ModelReport model;
  model.set_model(to_string(settings.model));
  model.set_workers(settings.workers);
  model.set_processors(settings.workers * settings.processors_per_worker);
  model.set_processors_per_worker(settings.processors_per_worker);
  model.set_transport(is_isolated(settings.model)
                          ? std::string(transport::name_of(settings.transport))
                      : settings.transfer.empty() ? "memory"
                                                  : settings.transfer);
  return model;
}

// Why a model cannot run the program; empty: it can.
std::string refusal(v1::Model model, const v1::ProgramDescription& program) {
  if (model != v1::MODEL_SEQUENTIAL || program.circle().empty()) return "";
  return fmt::format(
      "sequential runs each task to its end before the next starts, and in {} {}: the first would "
      "block for ever",
      wire::printable(program.name(), 200), wire::printable(program.circle(), 500));
}

// Adds one repetition to what is known of its model.
void add_outcome(v1::ModelReport& model, RunOutcome&& outcome, std::vector<double>& fired,
                 std::vector<TraceRef>& traces) {
  model.set_ran(model.ran() || outcome.began);
  if (!outcome.reason.empty() && model.reason().empty()) model.set_reason(outcome.reason);
  if (outcome.interrupted) model.set_interrupted(true);
  if (outcome.repetition.complete() && model.answer().checksum().empty()) {
    model.mutable_answer()->set_checksum(outcome.repetition.checksum());
    model.mutable_answer()->set_text(outcome.answer_text);
  }
  for (const v1::WorkerExit& exit : outcome.exits) {
    if (exit.has_blast_radius()) {  // a crash that lost something, if only a moment's work
      model.set_work_lost_seconds(model.work_lost_seconds());
    }
    *model.add_exits() = exit;
  }
  for (v1::GivenUp& worker : outcome.given_up) *model.add_given_up() = std::move(worker);
  if (model.has_work_lost_seconds()) {
    model.set_work_lost_seconds(model.work_lost_seconds() + outcome.work_lost_seconds);
  }
  traces.insert(traces.end(), outcome.traces.begin(), outcome.traces.end());
  for (std::size_t i = 0; i < fired.size(); ++i) fired[i] += static_cast<double>(outcome.fired[i]);
  *model.add_repetitions() = std::move(outcome.repetition);
}

// It was not even tried.
bool is_refused(const v1::ModelReport& model) {
  return model.repetitions().empty() && !model.reason().empty();
}

// Exit code and its reason, from what the report says.
void judge(v1::RunReport& report, const Interrupts& interrupts) {
  v1::Exit* exit = report.mutable_exit();
  const auto set = [&](int code, const std::string& reason) {
    exit->set_code(static_cast<std::uint32_t>(code));
    exit->set_reason(reason);
  };
  if (interrupts.count() > 0) {
    return set(interrupts.first_signal() == SIGINT ? kExitInterrupted : kExitTerminated,
               "interrupted: what is shown is partial");
  }
  for (const v1::ModelReport& model : report.models()) {
    const std::string name = label(report, model);
    for (const v1::Repetition& repetition : model.repetitions()) {
      if (!repetition.complete()) {
        return set(kExitUnfinished, fmt::format("{} did not finish: {}", name, model.reason()));
      }
    }
    if (model.jobs().failed() + model.jobs().quarantined() > 0) {
      return set(kExitUnfinished,
                 fmt::format("{}: jobs without a result: {:.0f} failed, {:.0f} quarantined", name,
                             model.jobs().failed(), model.jobs().quarantined()));
    }
    if (is_refused(model)) continue;
    if (!model.answer_equal()) {
      return set(kExitUnfinished, fmt::format("the answer of {} differs", name));
    }
  }
  for (const v1::FaultReport& fault : report.faults()) {
    if (fault.fired() == 0) {
      return set(kExitExpectation,
                 fmt::format("fault {} never fired in {}{}", fault.text(), fault.model(),
                             fault.has_transport() ? "/" + fault.transport() : ""));
    }
  }
  set(kExitDone, "");
}

class Comparison {
 public:
  Comparison(const Options& options, const Subject& subject, const SettingValues& second_settings,
             Environment environment)
      : options_(options),
        subject_(subject),
        environment_(std::move(environment)),
        progress_(options.progress) {
    for (const v1::Model model : options.models) {
      const bool isolated = is_isolated(model);
      const std::size_t ways = isolated ? options.transports.size() : options.transfers.size();
      for (std::size_t i = 0; i < ways; ++i) {
        Row row{model, options.transports[isolated ? i : 0],
                isolated || options.transfers[i] == "move" ? "" : options.transfers[i], "",
                subject.settings};
        rows_.push_back(row);
        if (!options.aa) continue;
        row.side = options.aa_settings.empty() ? kSameAgain : kAnotherSetting;
        row.settings = second_settings;
        rows_.push_back(std::move(row));
      }
    }
    service_.resize(rows_.size());
    traces_.resize(rows_.size());
    latency_.resize(rows_.size());
    fired_.assign(rows_.size(), std::vector<double>(options.faults.size(), 0));
  }

  v1::RunReport run() {
    v1::RunReport report;
    report.set_program(subject_.program.name());
    report.set_scenario(options_.scenario);
    report.set_seed(static_cast<double>(options_.seed));
    report.set_bulkhead_version(version());
    *report.mutable_tasks() = subject_.program.tasks();
    if (!report.tasks().empty()) report.set_unit(subject_.program.unit());
    if (options_.rate_per_second > 0) report.set_rate_per_second(options_.rate_per_second);
    for (const std::string& word : options_.command_line) {
      report.add_command(wire::printable(word));
    }
    for (const v1::PlanEntry& entry : options_.plan) *report.add_plan() = entry;
    if (subject_.iterations_per_second > 0) {
      v1::PlanEntry* calibration = report.add_plan();
      calibration->set_name("calibration");
      calibration->set_value(fmt::format("{:.4g} iterations/s", subject_.iterations_per_second));
      calibration->set_source("measured");
    }
    for (const Row& row : rows_) {
      v1::ModelReport& model = *report.add_models();
      model = model_report(run_settings(options_, subject_, row));
      if (!row.side.empty()) model.set_side(row.side);
      model.set_reason(refusal(row.model, subject_.program));
    }
    // Interleaved: a slow spell of the machine meets all rows alike. Forth and back, A B C C B A: a
    // drift, and what a run owes to having come after another, does so too.
    for (std::uint32_t repetition = options_.warm_up ? 0 : 1; repetition <= options_.repeat;
         ++repetition) {
      for (std::size_t i = 0; i < rows_.size(); ++i) {
        if (environment_.interrupts.count() > 0) break;
        const std::size_t row = repetition % 2 == 0 ? rows_.size() - 1 - i : i;
        if (refusal(rows_[row].model, subject_.program).empty()) run_once(report, row, repetition);
      }
    }
    finish(report);
    return report;
  }

  const OutputFiles& files() const { return files_; }

 private:
  void run_once(v1::RunReport& report, std::size_t index, std::uint32_t repetition) {
    const Row& row = rows_[index];
    RunSettings settings = run_settings(options_, subject_, row);
    settings.repetition = repetition;
    if (!options_.logs.empty()) {
      const bool several = is_isolated(row.model) && options_.transports.size() > 1;
      const std::string way = several ? std::string(transport::name_of(row.transport))
                              : row.transfer.empty() ? ""
                                                     : row.transfer;
      settings.log_prefix =
          fmt::format("{}/{}{}{}{}-{}", options_.logs, to_string(row.model), way.empty() ? "" : "-",
                      way, row.side.empty() ? "" : "-second", repetition);
    }
    const std::string name = label(report, report.models(static_cast<int>(index)));
    spdlog::info("{}, repetition {}", name, repetition);
    progress_.begin(repetition == 0
                        ? fmt::format("{} (warm-up)", name)
                        : fmt::format("{} ({} of {})", name, repetition, options_.repeat));
    if (progress_.live()) {
      settings.progress = [this](std::uint64_t done, std::uint64_t known) {
        progress_.update(done, known);
      };
    }
    Coordinator coordinator(environment_, settings);
    RunOutcome outcome = coordinator.run();
    progress_.end();
    files_.take(outcome.files);
    // An interrupted warm-up is all that there is to show.
    if (repetition == 0 && !outcome.interrupted) return;
    service_[index].merge(outcome.service);
    latency_[index].merge(outcome.latency);
    add_outcome(*report.mutable_models(static_cast<int>(index)), std::move(outcome), fired_[index],
                traces_[index]);
  }

  // Names for what the crash handlers left: now that every run is over.
  void name_crashes(v1::RunReport& report) {
    CrashTraces& kept = environment_.traces;
    if (kept.question().stacks_size() == 0) return;
    if (environment_.interrupts.count() > 1) {
      kept.take(fail(Code::kUnavailable, "the command was interrupted twice"));
    } else {
      kept.take(ask_symboliser(environment_.host, environment_.interrupts,
                               environment_.run_directory, kept.question()));
    }
    for (std::size_t row = 0; row < rows_.size(); ++row) {
      v1::ModelReport& model = *report.mutable_models(static_cast<int>(row));
      for (std::size_t i = 0; i < traces_[row].size(); ++i) {
        kept.complete(traces_[row][i], *model.mutable_exits(static_cast<int>(i)));
      }
    }
  }

  void finish(v1::RunReport& report) {
    name_crashes(report);
    for (int i = 0; i < report.models_size(); ++i) {
      const v1::ModelReport& model = report.models(i);
      if (is_refused(model)) continue;
      for (std::size_t f = 0; f < options_.faults.size(); ++f) {
        v1::FaultReport* fault = report.add_faults();
        fault->set_text(options_.faults[f].text);
        fault->set_model(model.model());
        if (model.has_side()) fault->set_side(model.side());
        if ((is_isolated(model) ? options_.transports.size() : options_.transfers.size()) > 1)
          fault->set_transport(model.transport());
        fault->set_fired(fired_[static_cast<std::size_t>(i)][f]);
        fault->set_planned(options_.faults[f].times *
                           static_cast<double>(model.repetitions_size()));
      }
    }
    report.set_interrupted(environment_.interrupts.count() > 0);
    *report.mutable_machine() =
        describe_machine(has_madvise_guards() ? "madvise guard pages" : "mprotect guard pages");
    complete_report(report, service_, options_.seed, latency_);
    judge(report, environment_.interrupts);
  }

  const Options& options_;
  const Subject& subject_;
  std::vector<Row> rows_;
  Environment environment_;
  Progress progress_;
  std::vector<Histogram> service_;
  std::vector<Histogram> latency_;  // empty ones in a closed loop
  std::vector<std::vector<double>> fired_;
  std::vector<std::vector<TraceRef>> traces_;  // row by row, one for each of its exits
  OutputFiles files_;
};

// The same command for the second sides.
Options second_side(Options options) {
  options.settings.insert(options.settings.end(), options.aa_settings.begin(),
                          options.aa_settings.end());
  return options;
}

int doctor(const Options& options) {
  const std::vector<Capability> capabilities = probe_machine();
  int code = say(render_doctor(capabilities, options.doctor_json));
  for (const Capability& capability : capabilities) {
    const bool required = std::find(options.require.begin(), options.require.end(),
                                    capability.name) != options.require.end();
    if (capability.present || !(required || capability.needed)) continue;
    code = complain(kExitEnvironment,
                    fmt::format("this machine lacks {}: {}", capability.name, capability.reason));
  }
  return code;
}

// Workers come, and what they start; a worker needs one connection, and another for a moment when
// it connects again.
transport::Admission admission(const Options& options) {
  transport::Admission result;
  result.admits = [self = getpid()](int pid) { return descends_from(pid, self); };
  result.per_process = 8;
  result.total = static_cast<int>(2 * options.workers) + 64;
  return result;
}

}  // namespace

int complain(const Stop& stop) {
  std::fputs(stop.text.c_str(), stderr);
  return stop.code;
}

int say(const std::string& text) {
  const bool written = std::fputs(text.c_str(), stdout) >= 0 && std::fflush(stdout) == 0;
  // A reader that went away has seen what it wanted.
  if (written || errno == EPIPE) return kExitDone;
  return complain(kExitEnvironment, fmt::format("cannot write to standard output: {}; make room "
                                                "there, or send it elsewhere",
                                                std::strerror(errno)));
}

int execute(const Options& given) {
  Options options = given;
  if (options.command == Command::kDoctor) return doctor(options);
  Interrupts interrupts;
  auto directory = RunDirectory::create();
  if (!directory) return complain(kExitEnvironment, directory.error().text);
  auto host = start_local_host(directory->path());
  if (!host) return complain(kExitEnvironment, host.error().text);

  if (options.command == Command::kBench) return bench(options, **host, interrupts);
  if (options.command == Command::kExplore) return explore(options, **host, interrupts);
  Inquiry inquiry(**host, interrupts, options.worker_path);
  const auto description = inquiry.describe();
  if (!description) return complain(description.error());
  if (options.command == Command::kList) {
    return say(render_list(*description));
  }
  const auto settings = resolve_settings(options, *description);
  if (!settings) return complain(settings.error());
  const auto second_settings = resolve_settings(second_side(options), *description);
  if (!second_settings) return complain(second_settings.error());
  Subject subject{*find_program(*description, options.scenario), *settings, {}, 0};
  if (const auto suits = resolve_tasks(options, subject.program); !suits)
    return complain(suits.error());
  if (options.models.size() == 1) {
    const std::string why = refusal(options.models.front(), subject.program);
    if (!why.empty()) return complain(kExitUsage, why + "; try --model concurrent");
  }
  subject.outputs = outputs_of(subject.program, subject.settings);
  const auto writable = check_outputs(subject.outputs, subject.settings);
  if (!writable) return complain(writable.error());
  if (options.check) {
    return say(render_plan(options, *settings));
  }
  if (const auto made = make_logs(options.logs); !made) return complain(made.error());
  if (subject.program.wants_calibration()) {
    const auto rate = inquiry.calibrate();
    if (!rate) return complain(rate.error());
    subject.iterations_per_second = *rate;
  }
  const std::string socket_name = "c";
  auto router = transport::Router::bind({directory->path(), socket_name}, {}, admission(options));
  if (!router) return complain(kExitEnvironment, router.error().text);

  CrashTraces traces;
  Comparison comparison(options, subject, *second_settings,
                        {**host, **router, interrupts, traces, directory->path(), socket_name});
  const v1::RunReport report = comparison.run();
  const int code = static_cast<int>(report.exit().code());
  tl::expected<void, Stop> placed;
  if (code == kExitDone || code == kExitExpectation) {
    placed = comparison.files().place(subject.outputs, subject.settings);
  }

  const int said = options.json == "-" ? kExitDone : say(render_text(report, options.color));
  if (!options.json.empty()) {
    if (const auto written = write_json(report, options.json); !written) {
      return complain(kExitEnvironment, written.error().text);
    }
  }
  if (said != kExitDone) return said;
  if (!placed) return complain(placed.error());
  if (code != kExitDone) complain(code, report.exit().reason());
  return code;
}

}  // namespace bulkhead::coordinator
