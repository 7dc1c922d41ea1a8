// The report of an exploration for people.
#include <fmt/format.h>

#include <bulkhead/wire/text.hpp>

#include "report/report.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kMostSaid = 64 * 1024;
constexpr double kFewSchedules = 100;

std::string long_text(const std::string& text) { return wire::printable(text, 1000); }

std::string indented(const std::string& text) {
  std::string result;
  std::size_t begin = 0;
  while (begin < text.size()) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    result += "  " + text.substr(begin, end - begin) + '\n';
    begin = end + 1;
  }
  return result;
}

std::string header(const v1::ExploreReport& report) {
  std::string text = long_text(report.program());
  for (const v1::PlanEntry& setting : report.settings()) {
    if (setting.source() != "default")
      text += fmt::format(" {}={}", long_text(setting.name()), long_text(setting.value()));
  }
  text += ", " + long_text(report.strategy());
  if (report.has_pct_steps()) text += fmt::format(" over {}", counted(report.pct_steps(), "step"));
  return text;
}

// "deadlock", "panic: signal 6 (Aborted)".
std::string name_of(const v1::ExploreFailure& failure) {
  const bool says_both = failure.what().compare(0, failure.kind().size(), failure.kind()) == 0;
  return long_text(says_both ? failure.what() : failure.kind() + ": " + failure.what());
}

std::string searched(const v1::ExploreReport& report) {
  std::string text = duration(report.seconds());
  // What few take is mostly the start of their process.
  if (report.has_schedules_per_second() && report.schedules() >= kFewSchedules)
    text += fmt::format(", {} a second", counted(report.schedules_per_second(), "schedule"));
  return text + fmt::format("; the longest had {}", counted(report.longest_steps(), "step"));
}

std::string said_by(const v1::ExploreFailure& failure) {
  if (failure.said().empty()) return {};
  return "said\n" + indented(wire::printable(failure.said(), kMostSaid, true));
}

std::string steps_of(const v1::ExploreReport& report) {
  std::string text;
  for (const std::string& step : report.steps()) text += long_text(step) + '\n';
  return text;
}

std::string render_replay(const v1::ExploreReport& report) {
  std::string text = fmt::format("{}, seed {:.0f}\n", header(report), report.first_seed());
  text += steps_of(report);
  const std::string steps = counted(report.longest_steps(), "step");
  if (!report.has_failure()) return text + fmt::format("ended well after {}\n", steps);
  return text + fmt::format("{} after {}\n", name_of(report.failure()), steps) +
         said_by(report.failure());
}

std::string render_failure(const v1::ExploreReport& report) {
  const v1::ExploreFailure& failure = report.failure();
  std::string text =
      fmt::format("{}\n{} in schedule {} of {}, seed {:.0f} ({})\n", header(report),
                  name_of(failure), whole(failure.schedule()), whole(report.schedules_wanted()),
                  failure.seed(), searched(report));
  text += said_by(failure);
  if (!report.steps().empty()) text += "its last steps\n" + indented(steps_of(report));
  return text + fmt::format("all its steps: {}\n", wire::printable(failure.replay()));
}

}  // namespace

std::string render_explore(const v1::ExploreReport& report) {
  const std::string interrupted = report.interrupted() ? "INTERRUPTED: " : "";
  if (report.replayed() && report.schedules() > 0) return render_replay(report);
  if (report.has_failure()) return render_failure(report);
  if (report.schedules() == 0) return fmt::format("{}{}\n", interrupted, header(report));
  return fmt::format("{}\n{}no failure in {}, seeds {:.0f} to {:.0f} ({})\n", header(report),
                     interrupted, counted(report.schedules(), "schedule"), report.first_seed(),
                     report.first_seed() + report.schedules() - 1, searched(report));
}

}  // namespace bulkhead::coordinator
