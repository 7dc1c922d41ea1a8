// Words and environment to Options: every value is judged here, and the plan says where it is from.
#include <algorithm>
#include <bulkhead/base/cores.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <bulkhead/wire/text.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "cli/doctor.hpp"
#include "cli/flags.hpp"
#include "cli/judge.hpp"
#include "cli/machine_limits.hpp"
#include "cli/output_paths.hpp"
#include "cli/surroundings.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kFaultsMaximum = 64;
constexpr std::uint64_t kLeastMemory = 32u << 20;

std::vector<std::string> model_names() {
  std::vector<std::string> names;
  for (const v1::Model model : available_models()) names.emplace_back(to_string(model));
  return names;
}

class Resolver : public Judge {
 public:
  using Judge::Judge;

  tl::expected<Options, Stop> resolve() {
    const bool runs = words_.command == Command::kRun || words_.command == Command::kCompare;
    // The order is that of the plan, and of the help.
    const std::vector<Done (Resolver::*)()> steps =
        runs ? std::vector<Done (Resolver::*)()>{&Resolver::scenario,      &Resolver::models,
                                                 &Resolver::transports,    &Resolver::shape,
                                                 &Resolver::program_input, &Resolver::worker,
                                                 &Resolver::faults,        &Resolver::limits,
                                                 &Resolver::measure,       &Resolver::output}
        : words_.command == Command::kBench ? std::vector<Done (Resolver::*)()>{&Resolver::bench}
        : words_.command == Command::kList  ? std::vector<Done (Resolver::*)()>{&Resolver::worker}
                                            : std::vector<Done (Resolver::*)()>{&Resolver::doctor};
    for (const auto step : steps) {
      if (Done done = (this->*step)(); !done) return tl::unexpected<Stop>(done.error());
    }
    return std::move(options_);
  }

 private:
  Done scenario() {
    const std::string& name = *words_.scenario;
    if (name.empty()) {
      return stop(kExitUsage, "the SCENARIO is empty; see `bulkhead list` for the built-in ones");
    }
    constexpr std::string_view kFile = ".toml";
    if (name.find('/') != std::string::npos ||
        (name.size() >= kFile.size() &&
         name.compare(name.size() - kFile.size(), kFile.size(), kFile) == 0)) {
      return stop(kExitUsage,
                  "{}: scenario files are not in this build; see `bulkhead list` for the built-in "
                  "scenarios",
                  in_quotes(name));
    }
    options_.scenario = name;
    plan("scenario", name, "flag");
    return {};
  }

  Done models() {
    const bool compare = words_.command == Command::kCompare;
    const std::string flag = compare ? "models" : "model";
    const auto from = given(flag);
    const std::string text = from      ? from->text
                             : compare ? join(model_names(), ",")
                                       : to_string(v1::MODEL_PARALLEL);
    const std::vector<std::string> names =
        compare ? split(text, ',') : std::vector<std::string>{text};
    for (const std::string& name : names) {
      const auto known = std::find_if(available_models().begin(), available_models().end(),
                                      [&](v1::Model model) { return name == to_string(model); });
      if (known == available_models().end()) {
        if (name == to_string(v1::MODEL_CLUSTER)) {
          return stop(kExitUsage, "model '{}' is not in this build; models: {}", name,
                      join(model_names()));
        }
        if (!compare && name.find(',') != std::string::npos) {
          return stop(kExitUsage,
                      "--model: {} names several; `bulkhead compare` takes several, with --models",
                      in_quotes(name));
        }
        return stop(kExitUsage, "--{}: unknown model {}{}", flag, in_quotes(name),
                    suggestion(name, "models", model_names()));
      }
      auto& models = options_.models;
      if (std::find(models.begin(), models.end(), *known) != models.end()) {
        return stop(kExitUsage, "--models: '{}' is named twice; name each model once", name);
      }
      models.push_back(*known);
    }
    plan(flag, text, from);
    return {};
  }

  Done shape() {
    const auto from = given("workers");
    options_.workers = std::min(base::usable_cores(), max_workers());
    if (from) {
      const auto value = parse_whole(from->text);
      if (!value) {
        return stop(kExitUsage, "{}: {}; write 1 to {}", from->where, value.error().text,
                    max_workers());
      }
      if (*value == 0) {
        return stop(kExitUsage, "{}: 0 workers: a run needs at least 1; at most {} here",
                    from->where, max_workers());
      }
      if (*value > max_workers()) return too_many_workers(*from, *value);
      options_.workers = static_cast<std::uint32_t>(*value);
    }
    plan("workers", std::to_string(options_.workers), from);
    if (Done done = count("processors", std::min(base::usable_cores(), 1024u), 1, 1024,
                          options_.processors);
        !done) {
      return done;
    }
    if (Done done = count("in-flight", 256u, 1, 1'000'000, options_.in_flight); !done) return done;
    return threads();
  }

  Done threads() {
    if (const auto from = given("threads")) {
      if (Done done = count("threads", 0u, 1, wire::kMaxThreads, options_.threads); !done) {
        return done;
      }
    } else {
      plan("threads", "one a job", from);
    }
    const auto& models = options_.models;
    const bool used = std::find(models.begin(), models.end(), v1::MODEL_THREADS) != models.end();
    if (used && options_.threads == 0 && options_.in_flight > wire::kMaxThreads) {
      return stop(
          kExitUsage,
          "--in-flight: {} jobs at once are more threads than model 'threads' starts; write "
          "--in-flight {} or less, or name a pool: --threads 64",
          options_.in_flight, wire::kMaxThreads);
    }
    return {};
  }

  std::uint32_t max_workers() const {
    return bulkhead::coordinator::max_workers(options_.transports);
  }

  Done too_many_workers(const Given& from, std::uint64_t workers) const {
    const std::uint64_t limit = descriptor_limit();
    // So many that their product could overflow are refused by the cap alone.
    if (workers <= 1'000'000'000) {
      const std::uint64_t needed =
          kReservedDescriptors + descriptors_per_worker(options_.transports) * workers;
      if (needed > limit) {
        return stop(kExitUsage,
                    "{}: {} workers need {} descriptors, and this process may open {}; at most {} "
                    "here",
                    from.where, workers, needed, limit, max_workers());
      }
    }
    return stop(kExitUsage, "{}: {} workers are more than bulkhead manages; at most {} here",
                from.where, wire::printable(from.text, 40), max_workers());
  }

  Done worker() {
    if (Done done = worker_path(); !done) return done;
    if (words_.command == Command::kList) return {};
    std::string launch;
    if (Done done = choice("launch", {"fork", "exec"}, launch); !done) return done;
    options_.fork_workers = launch == "fork";
    return count("seed", std::uint64_t{1}, 0, kSeedMaximum, options_.seed);
  }

  Done faults() {
    const bool isolated = std::any_of(options_.models.begin(), options_.models.end(),
                                      [](v1::Model model) { return is_isolated(model); });
    if (const auto* faults = all("fault")) {
      if (faults->size() > kFaultsMaximum) {
        return stop(kExitUsage, "--fault: {} faults are too many; at most {}", faults->size(),
                    kFaultsMaximum);
      }
      for (const std::string& text : *faults) {
        const auto fault = parse_fault(text);
        if (!fault) return stop(kExitUsage, "--fault {}", fault.error().text);
        if (isolated && fault->worker.value_or(1) > options_.workers) {
          return stop(kExitUsage, "--fault {}: there are {} workers; write worker=1 to worker={}",
                      in_quotes(text), options_.workers, options_.workers);
        }
        options_.faults.push_back(*fault);
        plan("fault", text, "flag");
      }
    } else {
      plan("fault", "none", "default");
    }
    return {};
  }

  // What ends a worker that neither dies nor goes on.
  Done limits() {
    if (Done done = count("max-attempts", 3u, 1, 1000, options_.max_attempts); !done) return done;
    if (Done done = restarts(); !done) return done;
    if (Done done = period("stall", "none", options_.stall); !done) return done;
    if (Done done = period("job-timeout", "none", options_.job_timeout); !done) return done;
    if (Done done = period("timeout", "none", options_.timeout); !done) return done;
    if (const auto from = given("worker-memory"); from && from->text != "none") {
      const auto value = parse_size(from->text);
      if (!value) return stop(kExitUsage, "{}: {}", from->where, value.error().text);
      if (*value < kLeastMemory) {
        return stop(kExitUsage, "{}: {} is less than a worker needs; write {} or more", from->where,
                    in_quotes(from->text), format_size(kLeastMemory));
      }
      options_.memory_limit = *value;
      plan("worker-memory", format_size(*value), from);
    } else {
      plan("worker-memory", "none", from);
    }
    for (const FaultSpec& fault : options_.faults) {
      if (fault.kind == v1::FAULT_HANG && !options_.stall && !options_.job_timeout &&
          !options_.timeout) {
        return stop(kExitUsage,
                    "--fault {}: nothing would end it; add --stall 1s or --job-timeout 5s",
                    in_quotes(fault.text));
      }
      if (fault.kind == v1::FAULT_OOM && options_.memory_limit == 0) {
        return stop(kExitUsage,
                    "--fault {}: it needs a limit to run into, lest it be the machine's; add "
                    "--worker-memory 256MiB",
                    in_quotes(fault.text));
      }
    }
    return {};
  }

  Done restarts() {
    const auto from = given("restarts");
    if (from && from->text != "unlimited") {
      const auto value = parse_restarts(from->text);
      if (!value) return stop(kExitUsage, "{}: {}", from->where, value.error().text);
      options_.restarts = *value;
    }
    plan("restarts", options_.restarts ? format_restarts(*options_.restarts) : "unlimited", from);
    return {};
  }

  Done rate() {
    const auto from = given("rate");
    const bool open = from && from->text != "none";
    if (open) {
      const auto value = parse_rate(from->text);
      if (!value) return stop(kExitUsage, "{}: {}", from->where, value.error().text);
      options_.rate_per_second = *value;
    }
    plan("rate", open ? from->text : "none", from);
    return {};
  }

  Done measure() {
    if (Done done = rate(); !done) return done;
    options_.checkpoint = std::chrono::milliseconds(100);
    if (Done done = period("checkpoint", "never", options_.checkpoint); !done) return done;
    const bool compare = words_.command == Command::kCompare;
    if (Done done = count("repeat", compare ? 5u : 1u, 1, 1000, options_.repeat); !done) {
      return done;
    }
    options_.warm_up = compare && options_.repeat > 1;
    plan("warm-up", options_.warm_up ? "1" : "0", "default");
    if (!compare) return {};
    options_.aa = all("aa") != nullptr || all("aa-set") != nullptr;
    plan("aa", options_.aa ? "yes" : "no", options_.aa ? "flag" : "default");
    return settings("aa-set", options_.aa_settings);
  }

  // `nothing` is the word for no period at all; `out` holds the default.
  Done period(const std::string& flag, std::string_view nothing,
              std::optional<base::Duration>& out) {
    const auto from = given(flag);
    if (from && from->text == nothing) {
      out.reset();
    } else if (from) {
      const auto value = parse_duration(from->text);
      if (!value) return stop(kExitUsage, "{}: {}", from->where, value.error().text);
      if (*value < std::chrono::milliseconds(1)) {
        return stop(kExitUsage, "{}: {} is too short; write 1ms or more, or {}", from->where,
                    in_quotes(from->text), nothing);
      }
      out = *value;
    }
    plan(flag, out ? format_duration(*out) : std::string(nothing), from);
    return {};
  }

  Done output() {
    if (Done done = json(); !done) return done;
    if (Done done = logs(); !done) return done;
    options_.check = all("check") != nullptr;
    std::string when;
    if (Done done = choice("color", {"auto", "always", "never"}, when); !done) return done;
    options_.progress = shows_progress();
    options_.color = when == "always" || (when == "auto" && shows_color());
    return {};
  }

  // The first of the choices is the default.
  Done choice(const std::string& flag, const std::vector<std::string>& choices, std::string& out) {
    const auto from = given(flag);
    out = from ? from->text : choices.front();
    if (std::find(choices.begin(), choices.end(), out) == choices.end()) {
      return stop(kExitUsage, "{}: unknown choice {}{}", from->where, in_quotes(out),
                  suggestion(out, "choices", choices));
    }
    plan(flag, out, from);
    return {};
  }

  Done logs() {
    const auto from = given("logs");
    if (from) {
      options_.logs = from->text;
      while (options_.logs.size() > 1 && options_.logs.back() == '/') options_.logs.pop_back();
      if (Done done = judge_logs(from->where, options_.logs); !done) return done;
    }
    plan("logs", from ? options_.logs : "none", from);
    return {};
  }

  Done bench() {
    options_.scenario = *words_.scenario;
    if (options_.scenario != "sched" && options_.scenario != "ipc") {
      return stop(kExitUsage, "unknown bench {}{}", in_quotes(options_.scenario),
                  suggestion(options_.scenario, "benches", {"sched", "ipc"}));
    }
    options_.worker_path = default_worker();
    if (const auto only = given("only")) {
      options_.only = split(only->text, ',');  // the worker knows which rows there are
    }
    const std::uint32_t cores = std::min(base::usable_cores(), 1024u);
    options_.bench_processors = {1};
    if (given("processors")) {
      if (Done done = count("processors", cores, 1, 1024, options_.bench_processors.front());
          !done) {
        return done;
      }
    } else if (cores > 1) {
      options_.bench_processors.push_back(cores);
    }
    if (Done done = count("runs", 5u, 1, 1000, options_.runs); !done) return done;
    options_.all_sizes = all("all-sizes") != nullptr;
    if (options_.all_sizes && options_.scenario != "ipc") {
      return stop(kExitUsage, "--all-sizes goes with `bulkhead bench ipc`: nothing else has sizes");
    }
    if (Done done = json(); !done) return done;
    options_.progress = shows_progress();
    return {};
  }

  Done doctor() {
    options_.doctor_json = all("json") != nullptr;
    if (const auto require = given("require"); require && !require->text.empty()) {
      for (const std::string& name : split(require->text, ',')) {
        const auto& names = capability_names();
        if (std::find(names.begin(), names.end(), name) == names.end()) {
          return stop(kExitUsage, "--require: unknown capability {}{}", in_quotes(name),
                      suggestion(name, "capabilities", names));
        }
        options_.require.push_back(name);
      }
    }
    return {};
  }
};

}  // namespace

tl::expected<Options, Stop> resolve_options(const Words& words) {
  if (words.command == Command::kExplore) return resolve_explore(words);
  return Resolver(words).resolve();
}

}  // namespace bulkhead::coordinator
