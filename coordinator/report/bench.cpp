// The report of a bench: its statistics and its table.
#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <map>

#include "report/report.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::uint64_t kSeed = 1;  // of the resampling: the same runs, the same interval

std::string shown(const std::string& text) { return wire::printable(text, 200); }

// The runs of a figure disagree: the largest is so many times the least.
constexpr double kDisagree = 1.5;

struct Message {
  std::string between;  // who
  std::string params;
  std::map<std::string, const v1::BenchRow*> figures;  // by what they tell
};

std::string shown_figure(const Message& message, const char* what, double times, bool rate) {
  const auto place = message.figures.find(what);
  if (place == message.figures.end()) return "–";
  const v1::BenchRow& row = *place->second;
  const double value = rate ? times / row.median() : times * row.median();
  const auto [least, most] = std::minmax_element(row.runs().begin(), row.runs().end());
  const bool disagree = row.runs_size() > 1 && *most > kDisagree * *least;
  return (disagree ? "~" : "") + digits(value);
}

// A line for each pair of parties and size of message, in place of one for each figure.
std::string message_table(const v1::BenchReport& report) {
  std::vector<Message> messages;
  for (const v1::BenchRow& row : report.rows()) {
    const std::size_t dot = row.name().rfind('.');
    const std::string between = row.name().substr(0, dot);
    if (messages.empty() || messages.back().between != between ||
        messages.back().params != row.params()) {
      const auto place = std::find_if(messages.begin(), messages.end(), [&](const Message& one) {
        return one.between == between && one.params == row.params();
      });
      if (place != messages.end()) {
        place->figures[row.name().substr(dot + 1)] = &row;
        continue;
      }
      messages.push_back({between, row.params(), {}});
    }
    messages.back().figures[row.name().substr(dot + 1)] = &row;
  }
  std::size_t width = 0;
  for (const Message& one : messages) width = std::max(width, shown(one.between).size());
  Table table({"there and back, µs; one way", "\np50", "\np90", "\np99", "\np99.9", "both\nCPU µs",
               "\nswitches", "one way\nM/s", "both\nCPU ns", "\nswitches"});
  for (const Message& one : messages) {
    table.add_row({{fmt::format("{:<{}}  {}", shown(one.between), width, shown(one.params))},
                   {shown_figure(one, "trip", 1e-3, false), Style::kStrong},
                   {shown_figure(one, "trip_p90", 1e-3, false)},
                   {shown_figure(one, "trip_p99", 1e-3, false)},
                   {shown_figure(one, "trip_p999", 1e-3, false)},
                   {shown_figure(one, "trip_cpu", 1e-3, false)},
                   {shown_figure(one, "trip_switches", 1, false)},
                   {shown_figure(one, "one_way", 1e3, true), Style::kStrong},
                   {shown_figure(one, "one_way_cpu", 1, false)},
                   {shown_figure(one, "one_way_switches", 1, false)}});
  }
  return table.render(false, kWidth) +
         fmt::format(
             "medians of the runs; ~: of these the largest is more than {} times the least\n",
             digits(kDisagree));
}

std::string figure_table(const v1::BenchReport& report) {
  std::size_t width = 0;
  for (const v1::BenchRow& row : report.rows()) width = std::max(width, shown(row.name()).size());
  Table table({"row", "median", "95 %", "unit", "runs"});
  for (const v1::BenchRow& row : report.rows()) {
    const std::string interval =
        row.has_low() ? fmt::format("{}–{}", digits(row.low()), digits(row.high())) : "–";
    table.add_row({{fmt::format("{:<{}}  {}", shown(row.name()), width, shown(row.params()))},
                   {digits(row.median()), Style::kStrong},
                   {interval},
                   {shown(row.unit())},
                   {whole(row.runs_size())}});
  }
  return table.render(false, kWidth);
}

}  // namespace

void complete_bench(v1::BenchReport& report) {
  for (v1::BenchRow& row : *report.mutable_rows()) {
    const std::vector<double> runs(row.runs().begin(), row.runs().end());
    row.set_median(median(runs));
    if (const auto interval = median_interval(runs, kSeed)) {
      row.set_low(interval->low);
      row.set_high(interval->high);
    }
  }
}

std::string render_bench(const v1::BenchReport& report) {
  const v1::Machine& machine = report.machine();
  std::string text = fmt::format("bench {}{}\n", shown(report.bench()),
                                 report.interrupted() ? ", INTERRUPTED" : "");
  text += wrap(fmt::format("{}, {}, {}, {}; {}", shown(machine.cpu()),
                           counted(machine.cores(), "usable core"), size(machine.memory_bytes()),
                           shown(machine.kernel()), shown(machine.build())),
               kWidth, 2);
  text += "\n\n";
  text += report.bench() == "ipc" ? message_table(report) : figure_table(report);
  for (const v1::BenchFailure& failure : report.failures()) {
    text += wrap(fmt::format("{} on {}, run {}: {}", shown(failure.row()),
                             counted(failure.processors(), "processor"), failure.run(),
                             wire::printable(failure.reason(), 600)),
                 kWidth, 2);
    text += '\n';
  }
  return text;
}

}  // namespace bulkhead::coordinator
