// What the worker says it can run, set against what the user asked for.
#include <algorithm>
#include <array>
#include <bulkhead/wire/text.hpp>

#include "cli/flags.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

struct ModelName {
  v1::Model model;
  const char* name;
};
constexpr std::array kModels{
    ModelName{v1::MODEL_SEQUENTIAL, "sequential"}, ModelName{v1::MODEL_CONCURRENT, "concurrent"},
    ModelName{v1::MODEL_PARALLEL, "parallel"},     ModelName{v1::MODEL_THREADS, "threads"},
    ModelName{v1::MODEL_PROCESSES, "processes"},   ModelName{v1::MODEL_CLUSTER, "cluster"}};

using Programs = google::protobuf::RepeatedPtrField<v1::ProgramDescription>;

std::vector<std::string> names_of(const Programs& programs) {
  std::vector<std::string> names;
  for (const auto& program : programs) names.push_back(program.name());
  return names;
}

const v1::ProgramDescription* find(const Programs& programs, const std::string& name) {
  const auto found = std::find_if(programs.begin(), programs.end(),
                                  [&](const auto& program) { return program.name() == name; });
  return found == programs.end() ? nullptr : &*found;
}

// What `run` and `compare` take.
Programs runnable(const v1::WorkerDescription& description) {
  Programs programs = description.programs();
  for (const auto& network : description.networks()) {
    if (network.tasks_size() > 0) *programs.Add() = network;
  }
  return programs;
}

// Also one that another command would run.
tl::unexpected<Stop> unknown_program(const Options& options,
                                     const v1::WorkerDescription& description) {
  const std::string& name = options.scenario;
  if (options.command != Command::kExplore) {
    if (find(description.networks(), name) != nullptr) {
      return stop(kExitUsage,
                  "{} is a network without tasks, which `bulkhead explore` runs; programs: {}",
                  in_quotes(name), wire::printable(join(names_of(runnable(description)))));
    }
    return stop(kExitUsage, "unknown program {}{}", in_quotes(name),
                suggestion(name, "programs", names_of(runnable(description))));
  }
  if (find(description.programs(), name) != nullptr) {
    return stop(kExitUsage, "{} is a jobs program, which `bulkhead run` runs; networks: {}",
                in_quotes(name), wire::printable(join(names_of(description.networks()))));
  }
  return stop(kExitUsage, "unknown network {}{}", in_quotes(name),
              suggestion(name, "networks", names_of(description.networks())));
}

// A parameter's canonical text as a person would write it.
std::string friendly(v1::ParameterType type, const std::string& canonical) {
  const auto number = parse_whole(canonical);
  if (number && type == v1::PARAMETER_SIZE) return format_size(*number);
  if (number && type == v1::PARAMETER_DURATION) {
    return format_duration(base::Duration(static_cast<std::int64_t>(*number)));
  }
  return wire::printable(canonical, 200);
}

// The same for a limit of the description, which is a double.
std::string friendly(v1::ParameterType type, double limit) {
  return friendly(type, fmt::format("{:.0f}", limit));
}

bool has_range(const v1::ParameterDescription& parameter) {
  return parameter.type() != v1::PARAMETER_TEXT && parameter.type() != v1::PARAMETER_OUTPUT &&
         parameter.minimum() < parameter.maximum();
}

Result<void> check_range(const v1::ParameterDescription& parameter, const std::string& text,
                         double value) {
  if (!has_range(parameter) || (value >= parameter.minimum() && value <= parameter.maximum())) {
    return {};
  }
  return fail(Code::kInvalidArgument, "{} is out of range; write {} to {}", in_quotes(text),
              friendly(parameter.type(), parameter.minimum()),
              friendly(parameter.type(), parameter.maximum()));
}

// Canonical text: decimal digits (integer, bytes, nanoseconds) or the text itself.
Result<std::string> canonical(const v1::ParameterDescription& parameter, const std::string& text) {
  double value = 0;
  std::string result = text;
  if (parameter.type() == v1::PARAMETER_INTEGER) {
    const auto parsed = parse_integer(text);
    if (!parsed && has_range(parameter)) {
      return fail(Code::kInvalidArgument, "{}; write {} to {}", parsed.error().text,
                  friendly(parameter.type(), parameter.minimum()),
                  friendly(parameter.type(), parameter.maximum()));
    }
    if (!parsed) return fail(parsed.error());
    value = static_cast<double>(*parsed);
    result = std::to_string(*parsed);
  } else if (parameter.type() == v1::PARAMETER_SIZE) {
    const auto parsed = parse_size(text);
    if (!parsed) return fail(parsed.error());
    value = static_cast<double>(*parsed);
    result = std::to_string(*parsed);
  } else if (parameter.type() == v1::PARAMETER_DURATION) {
    const auto parsed = parse_duration(text);
    if (!parsed) return fail(parsed.error());
    value = static_cast<double>(parsed->count());
    result = std::to_string(parsed->count());
  }
  if (const auto in_range = check_range(parameter, text, value); !in_range) {
    return fail(in_range.error());
  }
  return result;
}

const char* describe(v1::ParameterType type) {
  switch (type) {
    case v1::PARAMETER_INTEGER:
      return "number";
    case v1::PARAMETER_SIZE:
      return "size";
    case v1::PARAMETER_DURATION:
      return "duration";
    case v1::PARAMETER_OUTPUT:
      return "file to write";
    default:
      return "text";
  }
}

std::string render_programs(const Programs& programs) {
  std::size_t width = 12;
  for (const auto& program : programs)
    width = std::max(width, std::min<std::size_t>(program.name().size(), 40));
  std::string text;
  for (const auto& program : programs) {
    text += fmt::format("  {:<{}} {}\n", wire::printable(program.name(), 200), width,
                        wire::printable(program.summary(), 500));
    if (program.tasks_size() > 0) {
      text += fmt::format(
          "      tasks {}\n",
          wire::printable(join({program.tasks().begin(), program.tasks().end()}, ", "), 500));
    }
    if (program.takes_input()) text += "      --input PATH...     needed\n";
    for (const auto& parameter : program.parameters()) {
      std::string kind = describe(parameter.type());
      if (has_range(parameter)) {
        kind += fmt::format(" {} to {}", friendly(parameter.type(), parameter.minimum()),
                            friendly(parameter.type(), parameter.maximum()));
      }
      const std::string shown = fmt::format("{}={}", wire::printable(parameter.name(), 200),
                                            friendly(parameter.type(), parameter.default_value()));
      text += fmt::format("      --set {:<20} {} ({})\n", shown,
                          wire::printable(parameter.help(), 500), kind);
    }
  }
  return text;
}

}  // namespace

const char* to_string(v1::Model model) {
  for (const ModelName& known : kModels) {
    if (known.model == model) return known.name;
  }
  return "unspecified";
}

bool is_isolated(v1::Model model) {
  return model == v1::MODEL_PROCESSES || model == v1::MODEL_CLUSTER;
}

const std::vector<v1::Model>& available_models() {
  static const std::vector<v1::Model> kAvailable{v1::MODEL_SEQUENTIAL, v1::MODEL_CONCURRENT,
                                                 v1::MODEL_PARALLEL, v1::MODEL_THREADS,
                                                 v1::MODEL_PROCESSES};
  return kAvailable;
}

const v1::ProgramDescription* find_program(const v1::WorkerDescription& description,
                                           const std::string& name) {
  const v1::ProgramDescription* const jobs = find(description.programs(), name);
  if (jobs != nullptr) return jobs;
  const v1::ProgramDescription* const network = find(description.networks(), name);
  return network != nullptr && network->tasks_size() > 0 ? network : nullptr;
}

tl::expected<void, Stop> resolve_tasks(Options& options, const v1::ProgramDescription& program) {
  const std::string name = wire::printable(program.name(), 200);
  const std::vector<std::string> tasks(program.tasks().begin(), program.tasks().end());
  if (!tasks.empty() && options.rate_per_second > 0)
    return stop(kExitUsage, "--rate: {} is a network, which has no jobs; leave it out", name);
  if (tasks.empty() && options.route_coordinator)
    return stop(kExitUsage, "--route: {} has no channels; leave it out", name);
  for (FaultSpec& fault : options.faults) {
    const std::string kind = to_string(fault.kind);
    if (tasks.empty()) {
      if (fault.task.empty()) continue;
      return stop(kExitUsage, "--fault: {}: {} has jobs, not tasks; write {}@job=20",
                  in_quotes(fault.text), name, kind);
    }
    if (fault.job || fault.rate > 0) {
      return stop(kExitUsage, "--fault: {}: {} has tasks, not jobs; write {}@task={}",
                  in_quotes(fault.text), name, kind, wire::printable(tasks.front(), 200));
    }
    if (fault.task.empty()) continue;
    const auto found = std::find(tasks.begin(), tasks.end(), fault.task);
    if (found == tasks.end()) {
      return stop(kExitUsage, "--fault: {}: {} has no task {}{}", in_quotes(fault.text), name,
                  in_quotes(fault.task), suggestion(fault.task, "tasks", tasks));
    }
    fault.job = static_cast<std::uint64_t>(found - tasks.begin());
  }
  return {};
}

tl::expected<std::map<std::string, std::string>, Stop> resolve_settings(
    const Options& options, const v1::WorkerDescription& description) {
  const bool explored = options.command == Command::kExplore;
  const v1::ProgramDescription* const program = explored
                                                    ? find(description.networks(), options.scenario)
                                                    : find_program(description, options.scenario);
  if (program == nullptr) return unknown_program(options, description);
  const std::string program_name = wire::printable(program->name(), 200);
  std::map<std::string, std::string> settings;
  std::vector<std::string> names;
  for (const auto& parameter : program->parameters()) {
    settings[parameter.name()] = parameter.default_value();
    names.push_back(parameter.name());
  }
  for (const auto& [name, text] : options.settings) {
    const auto& parameters = program->parameters();
    const auto parameter =
        std::find_if(parameters.begin(), parameters.end(),
                     [&, wanted = name](const auto& known) { return known.name() == wanted; });
    if (parameter == parameters.end()) {
      if (names.empty()) {
        return stop(kExitUsage, "--set: {} has no settings, so no {}", program_name,
                    in_quotes(name));
      }
      return stop(kExitUsage, "--set: {} has no setting {}{}", program_name, in_quotes(name),
                  suggestion(name, "settings", names));
    }
    const auto value = canonical(*parameter, text);
    if (!value) {
      return stop(kExitUsage, "--set {}: {}", wire::printable(name, 200), value.error().text);
    }
    settings[name] = *value;
  }
  if (program->takes_input() && options.inputs.empty()) {
    return stop(kExitUsage, "{} needs something to read; add --input PATH, a file or folder",
                program_name);
  }
  if (!program->takes_input() && !options.inputs.empty()) {
    return stop(kExitUsage, "{} reads no input; leave out --input {}", program_name,
                in_quotes(options.inputs.front()));
  }
  return settings;
}

std::string render_plan(const Options& options,
                        const std::map<std::string, std::string>& settings) {
  std::vector<std::array<std::string, 3>> rows;
  for (const v1::PlanEntry& entry : options.plan) {
    // The resolved settings below say more.
    if (entry.name() != "set") rows.push_back({entry.name(), entry.value(), entry.source()});
  }
  for (const auto& [name, value] : settings) {
    const bool set = std::any_of(options.settings.begin(), options.settings.end(),
                                 [&, wanted = name](const auto& s) { return s.first == wanted; });
    rows.push_back({"set " + wire::printable(name, 200), wire::printable(value, 200),
                    set ? "flag" : "default"});
  }
  std::array<std::size_t, 2> widths{};
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < widths.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string text;
  for (const auto& row : rows) {
    text += fmt::format("{:<{}}  {:<{}}  {}\n", row[0], widths[0], row[1], widths[1], row[2]);
  }
  return text;
}

std::string render_list(const v1::WorkerDescription& description) {
  std::string text = "programs\n" + render_programs(description.programs());
  if (!description.networks().empty()) {
    text += "networks, for `bulkhead explore`; those with tasks run like programs, too\n" +
            render_programs(description.networks());
  }
  text += "models\n";
  for (const v1::Model model : available_models()) {
    static constexpr std::array kShapes{
        "1 worker, 1 processor, one task after the other",
        "1 worker, 1 processor, tasks interleave", "1 worker, all processors, shared memory",
        "1 worker, one OS thread a task, shared memory", "one process each worker, isolated"};
    const auto at = static_cast<std::size_t>(
        std::find(available_models().begin(), available_models().end(), model) -
        available_models().begin());
    text += fmt::format("  {:<12} {}\n", to_string(model), kShapes.at(at));
  }
  text +=
      "transports of the isolated models\n"
      "  zmq-ipc      ZeroMQ over local sockets\n"
      "  unix         a local socket\n"
      "  shm          rings in memory that two processes share\n";
  text += fmt::format("{:<17}{:<22} {}\n", "faults", "takes in shared memory", "under isolation");
  for (const FaultKindText& kind : fault_kinds()) {
    text += fmt::format("  {:<14} {:<22} {}\n", kind.name, kind.shared, kind.isolated);
    text += fmt::format("      {}\n", kind.help);
  }
  text +=
      "where\n"
      "  KIND@job=N[,times=K]       job N, the first K times it runs\n"
      "  KIND@rate=P                a share P of all jobs, drawn from the seed, each once\n"
      "  KIND@worker=N[,after=T]    worker N, T after all workers are ready: segv and kill as a\n"
      "                             signal from outside, the others in the next job it begins\n";
  return text;
}

}  // namespace bulkhead::coordinator
