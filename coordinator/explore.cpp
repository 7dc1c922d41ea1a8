#include "explore.hpp"

#include <bulkhead/v1/control.pb.h>
#include <bulkhead/v1/report.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <cmath>
#include <map>
#include <string>
#include <utility>

#include "cli/flags.hpp"
#include "cli/surroundings.hpp"
#include "cli/values.hpp"
#include "compare.hpp"
#include "errand.hpp"
#include "inquiry.hpp"
#include "progress.hpp"
#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

using SettingValues = std::map<std::string, std::string>;

constexpr std::uint64_t kMeasured = 10;  // schedules whose longest tells how long schedules are
constexpr double kShareSeconds = 1;      // that a worker's share should take
constexpr double kLongestSeconds = 365.0 * 86400;
constexpr std::size_t kMostSaid = 64 * 1024;

// A word for a shell.
std::string quoted(const std::string& word) {
  constexpr std::string_view kPlain =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-+=:,./@%";
  if (!word.empty() && word.find_first_not_of(kPlain) == std::string::npos) return word;
  std::string text = "'";
  for (const char c : word) text += c == '\'' ? std::string("'\\''") : std::string(1, c);
  return text + "'";
}

std::string strategy_of(const Options& options) {
  return options.depth == 0 ? "random" : fmt::format("pct:{}", options.depth);
}

std::string replay_command(const Options& options, std::uint64_t seed) {
  std::vector<std::string> words{options.command_line.front(), "explore", options.scenario};
  for (const auto& [name, value] : options.settings) {
    words.insert(words.end(), {"--set", fmt::format("{}={}", name, value)});
  }
  for (const std::string& input : options.inputs) words.insert(words.end(), {"--input", input});
  if (options.worker_path != default_worker()) {
    words.insert(words.end(), {"--worker", options.worker_path});
  }
  if (options.schedule_timeout != std::chrono::seconds(10)) {
    words.insert(words.end(), {"--schedule-timeout", format_duration(options.schedule_timeout)});
  }
  if (options.depth > 0) words.insert(words.end(), {"--strategy", strategy_of(options)});
  words.insert(words.end(), {"--replay", std::to_string(seed)});
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : " ") + quoted(word);
  return text;
}

class Exploration {
 public:
  Exploration(const Options& options, const SettingValues& settings, Host& host,
              Interrupts& interrupts)
      : options_(options),
        settings_(settings),
        host_(host),
        interrupts_(interrupts),
        progress_(options.progress, "schedules") {}

  // A Stop with an empty text: interrupted.
  tl::expected<v1::ExploreReport, Stop> run() {
    begin_report();
    const auto done = options_.replay ? replay() : search();
    if (!done && !done.error().text.empty()) return tl::unexpected(done.error());
    report_.set_interrupted(interrupts_.count() > 0);
    if (report_.seconds() > 0) {
      report_.set_schedules_per_second(report_.schedules() / report_.seconds());
    }
    return std::move(report_);
  }

 private:
  using Done = tl::expected<void, Stop>;

  void begin_report() {
    report_.set_program(options_.scenario);
    for (const auto& [name, value] : settings_) {
      const bool set = std::any_of(options_.settings.begin(), options_.settings.end(),
                                   [&, wanted = name](const auto& s) { return s.first == wanted; });
      v1::PlanEntry& entry = *report_.add_settings();
      entry.set_name(name);
      entry.set_value(value);
      entry.set_source(set ? "flag" : "default");
    }
    report_.set_strategy(strategy_of(options_));
    report_.set_first_seed(static_cast<double>(options_.seed));
    report_.set_schedules_wanted(static_cast<double>(options_.schedules));
    report_.set_replayed(options_.replay.has_value());
    for (const std::string& word : options_.command_line) {
      report_.add_command(wire::printable(word));
    }
    report_.set_bulkhead_version(version());
  }

  Done replay() {
    if (Done done = measure(); !done) return done;
    v1::ExploreRequest request = request_for(*options_.replay, 1);
    request.set_trace(true);
    const auto run = ask(request);
    if (!run) return tl::unexpected(run.error());
    take(*run);
    return {};
  }

  // Shares of a second or so, so that an interrupt finds most of the work told; the first ones
  // small, because nobody knows how long a schedule takes.
  Done search() {
    progress_.begin(options_.scenario);
    Done done = measure();
    std::uint64_t share = 1;
    std::uint64_t made = 0;
    while (done && made < options_.schedules && !report_.has_failure()) {
      share = std::min(share, options_.schedules - made);
      const auto run = ask(request_for(options_.seed + made, share));
      if (!run) {
        done = tl::unexpected(run.error());
        break;
      }
      take(*run);
      made += share;
      const double rate = static_cast<double>(share) / std::max(run->seconds(), 1e-6);
      const auto wanted = static_cast<std::uint64_t>(rate * kShareSeconds);
      share = std::clamp<std::uint64_t>(wanted, 1, share * 10);
      if (progress_.live()) progress_.update(made, options_.schedules);
    }
    progress_.end();
    return done;
  }

  // Where priorities are to change: anywhere in a schedule as long as some random ones. They are
  // the same each time, so that a replay has the same changes.
  Done measure() {
    if (options_.depth == 0) return {};
    v1::ExploreRequest request = request_for(0, kMeasured);
    request.set_depth(0);
    const auto run = ask(request);
    if (!run) return tl::unexpected(run.error());
    steps_ = std::max<std::uint64_t>(run->longest_steps(), 1);
    report_.set_pct_steps(static_cast<double>(steps_));
    return {};
  }

  v1::ExploreRequest request_for(std::uint64_t first_seed, std::uint64_t schedules) const {
    v1::ExploreRequest request;
    request.set_network(options_.scenario);
    for (const auto& [name, value] : settings_) {
      v1::Setting& setting = *request.add_settings();
      setting.set_name(name);
      setting.set_value(value);
    }
    for (const std::string& input : options_.inputs) request.add_inputs(input);
    request.set_first_seed(first_seed);
    request.set_schedules(schedules);
    request.set_depth(options_.depth);
    request.set_steps(steps_);
    request.set_limit_seconds(base::to_seconds(options_.schedule_timeout));
    return request;
  }

  // What a worker printed is not trusted.
  tl::expected<v1::ExploreRun, Stop> ask(const v1::ExploreRequest& request) {
    std::string json;
    if (!google::protobuf::util::MessageToJsonString(request, &json).ok()) {
      return stop(kExitUsage, "--set, --input: not all of it is text (UTF-8)");
    }
    const double seconds =
        base::to_seconds(options_.schedule_timeout) * static_cast<double>(request.schedules() + 2) +
        60;
    const std::chrono::duration<double> deadline(std::min(seconds, kLongestSeconds));
    const ErrandEnd end =
        run_errand(host_, interrupts_,
                   {.executable = options_.worker_path,
                    .arguments = {"--explore", json},
                    .deadline = std::chrono::duration_cast<base::Duration>(deadline)});
    if (end.interrupted) return tl::unexpected(Stop{128 + interrupts_.first_signal(), {}});
    const std::string said = last_line(end.aside);
    if (end.exit_code == kExitUsage) return stop(kExitUsage, "{}", said);
    if (!end.failure.empty()) return refuse(said.empty() ? end.failure : end.failure + ": " + said);
    v1::ExploreRun run;
    if (!parse_json(end.output, run) || !makes_sense(request, run)) {
      return refuse("told of its schedules in words that make no sense");
    }
    return run;
  }

  static bool makes_sense(const v1::ExploreRequest& request, const v1::ExploreRun& run) {
    if (!std::isfinite(run.seconds()) || run.seconds() < 0 || run.schedules() == 0) return false;
    if (!run.has_finding()) return run.schedules() == request.schedules();
    return run.schedules() <= request.schedules() &&
           run.finding().seed() == request.first_seed() + run.schedules() - 1;
  }

  tl::unexpected<Stop> refuse(const std::string& text) const {
    return stop(kExitEnvironment, "worker {} {}", in_quotes(options_.worker_path), text);
  }

  void take(const v1::ExploreRun& run) {
    report_.set_schedules(report_.schedules() + static_cast<double>(run.schedules()));
    report_.set_longest_steps(
        std::max(report_.longest_steps(), static_cast<double>(run.longest_steps())));
    report_.set_seconds(report_.seconds() + run.seconds());
    for (const std::string& step : run.steps()) report_.add_steps(wire::printable(step));
    if (!run.has_finding()) return;
    v1::ExploreFailure& failure = *report_.mutable_failure();
    failure.set_seed(static_cast<double>(run.finding().seed()));
    failure.set_schedule(report_.schedules());
    failure.set_kind(wire::printable(run.finding().kind(), 40));
    failure.set_what(wire::printable(run.finding().what(), 200));
    failure.set_said(wire::printable(run.finding().said(), kMostSaid, true));
    failure.set_replay(replay_command(options_, run.finding().seed()));
  }

  const Options& options_;
  const SettingValues& settings_;
  Host& host_;
  Interrupts& interrupts_;
  Progress progress_;
  std::uint64_t steps_ = 0;  // see measure()
  v1::ExploreReport report_;
};

}  // namespace

int explore(const Options& options, Host& host, Interrupts& interrupts) {
  Inquiry inquiry(host, interrupts, options.worker_path);
  const auto description = inquiry.describe();
  if (!description) return complain(description.error());
  const auto settings = resolve_settings(options, *description);
  if (!settings) return complain(settings.error());
  const auto report = Exploration(options, *settings, host, interrupts).run();
  if (!report) return complain(report.error());

  const int said = options.json == "-" ? kExitDone : say(render_explore(*report));
  if (!options.json.empty()) {
    if (const auto written = write_json(*report, options.json); !written) {
      return complain({kExitEnvironment, fmt::format("bulkhead: {}\n", written.error().text)});
    }
  }
  if (said != kExitDone) return said;
  if (report->interrupted()) return 128 + interrupts.first_signal();
  return report->has_failure() ? kExitUnfinished : kExitDone;
}

}  // namespace bulkhead::coordinator
