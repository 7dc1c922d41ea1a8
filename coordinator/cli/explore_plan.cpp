// The words of `bulkhead explore`.
#include "cli/judge.hpp"
#include "cli/surroundings.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::uint64_t kSchedulesMaximum = 1'000'000'000;
constexpr std::uint64_t kDepthMaximum = 100;
constexpr std::string_view kPct = "pct:";

class ExploreJudge : public Judge {
 public:
  using Judge::Judge;

  tl::expected<Options, Stop> resolve() {
    using Step = Done (ExploreJudge::*)();
    for (const Step step : std::initializer_list<Step>{
             &ExploreJudge::network, &ExploreJudge::schedules, &ExploreJudge::strategy,
             &ExploreJudge::timeout, &ExploreJudge::program_input, &ExploreJudge::worker_path,
             &ExploreJudge::json}) {
      if (Done done = (this->*step)(); !done) return tl::unexpected<Stop>(done.error());
    }
    options_.progress = shows_progress();
    return std::move(options_);
  }

 private:
  Done network() {
    options_.scenario = *words_.scenario;
    if (options_.scenario.empty()) {
      return stop(kExitUsage, "the PROGRAM is empty; see `bulkhead list` for the networks");
    }
    plan("program", options_.scenario, "flag");
    return {};
  }

  Done schedules() {
    if (all("replay") != nullptr) return one_schedule();
    if (Done done =
            count("schedules", std::uint64_t{1000}, 1, kSchedulesMaximum, options_.schedules);
        !done) {
      return done;
    }
    return count("seed", std::uint64_t{1}, 0, kSeedMaximum - options_.schedules, options_.seed);
  }

  Done one_schedule() {
    for (const char* const other : {"schedules", "seed"}) {
      if (all(other) == nullptr) continue;
      return stop(kExitUsage, "--replay runs one schedule, that of its seed; leave out --{}",
                  other);
    }
    std::uint64_t seed = 0;
    if (Done done = count("replay", seed, 0, kSeedMaximum, seed); !done) return done;
    options_.replay = seed;
    options_.seed = seed;
    options_.schedules = 1;
    return {};
  }

  Done strategy() {
    const auto from = given("strategy");
    const std::string_view text = from ? std::string_view(from->text) : "random";
    if (text.substr(0, kPct.size()) == kPct) {
      const auto depth = parse_count(text.substr(kPct.size()), 1, kDepthMaximum);
      if (!depth) return stop(kExitUsage, "--strategy pct:D: {}", depth.error().text);
      options_.depth = static_cast<std::uint32_t>(*depth);
    } else if (text != "random") {
      return stop(kExitUsage, "--strategy: unknown strategy {}{}", in_quotes(text),
                  suggestion(text, "strategies", {"random", "pct:D"}));
    }
    plan("strategy", std::string(text), from);
    return {};
  }

  Done timeout() {
    const auto from = given("schedule-timeout");
    options_.schedule_timeout = std::chrono::seconds(10);
    if (from) {
      const auto value = parse_duration(from->text);
      if (!value) return stop(kExitUsage, "{}: {}", from->where, value.error().text);
      if (*value < std::chrono::milliseconds(1)) {
        return stop(kExitUsage, "{}: {} is too short; write 1ms or more", from->where,
                    in_quotes(from->text));
      }
      options_.schedule_timeout = *value;
    }
    plan("schedule-timeout", format_duration(options_.schedule_timeout), from);
    return {};
  }
};

}  // namespace

tl::expected<Options, Stop> resolve_explore(const Words& words) {
  return ExploreJudge(words).resolve();
}

}  // namespace bulkhead::coordinator
