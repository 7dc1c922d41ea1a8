// The report of a bench: its statistics and its table.
#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>

#include "report/report.hpp"
#include "report/statistics.hpp"
#include "report/table.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::uint64_t kSeed = 1;  // of the resampling: the same runs, the same interval

std::string shown(const std::string& text) { return wire::printable(text, 200); }

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
  text += table.render(false, kWidth);
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
