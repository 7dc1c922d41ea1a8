#include "bench/bench.hpp"

#include <bulkhead/v1/control.pb.h>
#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <sched.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "bench/crossing.hpp"
#include "bench/rows.hpp"

namespace bulkhead::bench {
namespace {

constexpr int kExitUsage = 2;
constexpr int kExitInternal = 70;
constexpr unsigned kMaxProcessors = 1024;

// What is cheap to wake and to switch first, what needs much memory last.
std::vector<Row> all_rows() {
  std::vector<Row> rows;
  for (const auto* group :
       {&switching_rows(), &channel_rows(), &spawning_rows(), &network_rows(), &waiting_rows()}) {
    rows.insert(rows.end(), group->begin(), group->end());
  }
  return rows;
}

int print_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string json;
  BULKHEAD_CHECK(google::protobuf::util::MessageToJsonString(message, &json, options).ok());
  std::fputs(json.c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : kExitInternal;
}

template <class Rows>
int print_list(const Rows& rows) {
  v1::BenchList list;
  for (const auto& row : rows) list.add_rows(row.name);
  return print_json(list);
}

int print_figures(const std::vector<Figure>& figures, unsigned processors) {
  v1::BenchRun run;
  for (const Figure& figure : figures) {
    v1::BenchFigure* const out = run.add_figures();
    out->set_name(figure.name);
    out->set_params(
        fmt::format("procs={}{}{}", processors, figure.params.empty() ? "" : " ", figure.params));
    out->set_unit(figure.unit);
    out->set_value(figure.value);
  }
  return print_json(run);
}

std::optional<unsigned> parse_processors(std::string_view text) {
  unsigned count = 0;
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, count);
  if (error != std::errc() || stopped != end || count == 0 || count > kMaxProcessors) return {};
  return count;
}

// Threads that start later inherit it.
void keep_to_one_cpu() {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (sched_getaffinity(0, sizeof usable, &usable) != 0) return;  // more than 1,024 CPUs: any then
  int first = 0;
  while (first < CPU_SETSIZE && !CPU_ISSET(first, &usable)) ++first;
  CPU_ZERO(&usable);
  CPU_SET(first, &usable);
  if (sched_setaffinity(0, sizeof usable, &usable) != 0) {
    std::fprintf(stderr, "bulkhead-worker: can't keep to one CPU: %s\n", std::strerror(errno));
  }
}

int run_row(const Row& row, unsigned processors) {
  if (processors == 1) keep_to_one_cpu();
  sched::Options options;
  options.processors = processors;
  sched::Scheduler scheduler(options);
  int code = 0;
  scheduler.run([&] {
    code = print_figures(row.run(), processors);
    // Goroutines that stay parked would keep run() from ever returning; on one processor this one
    // is alone when the row has left none.
    if (scheduler.alive() > 1) std::_Exit(code);
  });
  return code;
}

template <class Rows>
const auto* find_row(const Rows& rows, std::string_view name) {
  const auto row =
      std::find_if(rows.begin(), rows.end(), [&](const auto& one) { return one.name == name; });
  return row == rows.end() ? nullptr : &*row;
}

}  // namespace

int bench_main(int argc, char** argv) {
  const std::string_view bench = argc > 2 ? argv[2] : "";
  const std::vector<Row> rows = all_rows();
  if (argc == 3 && bench == "sched") return print_list(rows);
  if (argc == 3 && bench == "ipc") return print_list(crossing_rows());
  const bool all_sizes = argc == 6 && bench == "ipc" && argv[5] == std::string_view("all-sizes");
  const auto processors = argc == 5 || all_sizes ? parse_processors(argv[4]) : std::nullopt;
  if (processors && bench == "sched")
    if (const Row* const row = find_row(rows, argv[3])) return run_row(*row, *processors);
  if (processors && bench == "ipc")
    if (const CrossingRow* const row = find_row(crossing_rows(), argv[3]))
      return print_figures(
          row->run(
              {.name = row->name, .apart = *processors > 1, .sizes = crossing_sizes(all_sizes)}),
          *processors > 1 ? 2 : 1);
  std::fprintf(
      stderr,
      "%s: --bench sched|ipc lists its rows; --bench sched|ipc ROW P runs one of them on P "
      "processors (1 to %u); after P of ipc: all-sizes\n",
      argv[0], kMaxProcessors);
  return kExitUsage;
}

}  // namespace bulkhead::bench
