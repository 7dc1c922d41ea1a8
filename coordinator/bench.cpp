#include "bench.hpp"

#include <bulkhead/v1/report.pb.h>
#include <spdlog/spdlog.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <cmath>
#include <cstdio>
#include <utility>

#include "cli/doctor.hpp"
#include "cli/flags.hpp"
#include "cli/values.hpp"
#include "compare.hpp"
#include "errand.hpp"
#include "inquiry.hpp"
#include "progress.hpp"
#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

// Of one run of one row: some seconds on an idle machine, and sanitizers and a load of ten besides.
constexpr auto kDeadline = std::chrono::minutes(5);
constexpr int kMaxFigures = 64;

// The rows of --only in the worker's order, each once; kExitUsage for one that it does not have.
tl::expected<std::vector<std::string>, Stop> chosen_rows(const v1::BenchList& list,
                                                         const std::vector<std::string>& only) {
  const std::vector<std::string> rows(list.rows().begin(), list.rows().end());
  if (only.empty()) return rows;
  for (const std::string& name : only) {
    if (std::find(rows.begin(), rows.end(), name) != rows.end()) continue;
    return stop(kExitUsage, "--only: unknown row {}{}", in_quotes(name),
                suggestion(name, "rows", rows));
  }
  std::vector<std::string> chosen;
  std::copy_if(rows.begin(), rows.end(), std::back_inserter(chosen), [&](const std::string& row) {
    return std::find(only.begin(), only.end(), row) != only.end();
  });
  return chosen;
}

// What a worker printed is not trusted: figures that are numbers, and not too many.
Result<v1::BenchRun> parse_run(const std::string& json) {
  v1::BenchRun run;
  const bool parsed = parse_json(json, run);
  const auto is_number = [](const v1::BenchFigure& figure) {
    return std::isfinite(figure.value()) && !figure.name().empty();
  };
  if (!parsed || run.figures().empty() || run.figures_size() > kMaxFigures ||
      !std::all_of(run.figures().begin(), run.figures().end(), is_number)) {
    return fail(Code::kProtocolError, "printed words that are no figures");
  }
  return run;
}

class Bench {
 public:
  Bench(const Options& options, Host& host, Interrupts& interrupts)
      : options_(options),
        host_(host),
        interrupts_(interrupts),
        progress_(options.progress, "runs") {}

  v1::BenchReport run(const std::vector<std::string>& rows) {
    std::vector<Job> jobs;  // one row on one and on several processors are neighbours
    for (const std::string& row : rows) {
      for (const std::uint32_t processors : options_.bench_processors) {
        jobs.push_back({row, processors});
      }
    }
    std::uint64_t made = 0;
    // Interleaved, forth and back: a slow spell of the machine meets all rows alike, and so does
    // what a run owes to the one before it.
    for (std::uint32_t round = 1; round <= options_.runs; ++round) {
      for (std::size_t i = 0; i < jobs.size() && interrupts_.count() == 0; ++i) {
        const Job& job = jobs[round % 2 == 1 ? i : jobs.size() - 1 - i];
        progress_.begin(job.row);
        if (progress_.live()) progress_.update(made, jobs.size() * options_.runs);
        run_once(job, round);
        progress_.end();
        ++made;
      }
    }
    finish();
    return std::move(report_);
  }

 private:
  struct Job {
    std::string row;
    std::uint32_t processors;
  };

  void run_once(const Job& job, std::uint32_t round) {
    std::vector<std::string> arguments{"--bench", options_.scenario, job.row,
                                       std::to_string(job.processors)};
    if (options_.all_sizes) arguments.emplace_back("all-sizes");
    const ErrandEnd end = run_errand(host_, interrupts_,
                                     {.executable = options_.worker_path,
                                      .arguments = std::move(arguments),
                                      .deadline = kDeadline});
    if (end.interrupted) return;
    if (!end.failure.empty()) {
      const std::string said = last_line(end.aside);
      return failed(job, round, said.empty() ? end.failure : end.failure + ": " + said);
    }
    const auto run = parse_run(end.output);
    if (!run) return failed(job, round, run.error().text);
    for (const v1::BenchFigure& figure : run->figures()) {
      row_of(figure).add_runs(figure.value());
    }
  }

  void failed(const Job& job, std::uint32_t round, const std::string& reason) {
    v1::BenchFailure* const failure = report_.add_failures();
    failure->set_row(job.row);
    failure->set_processors(job.processors);
    failure->set_run(round);
    failure->set_reason(reason);
  }

  // Few rows: a search costs nothing beside a run.
  v1::BenchRow& row_of(const v1::BenchFigure& figure) {
    for (v1::BenchRow& row : *report_.mutable_rows()) {
      if (row.name() == figure.name() && row.params() == figure.params() &&
          row.unit() == figure.unit()) {
        return row;
      }
    }
    v1::BenchRow& row = *report_.add_rows();
    row.set_name(figure.name());
    row.set_params(figure.params());
    row.set_unit(figure.unit());
    return row;
  }

  void finish() {
    report_.set_bench(options_.scenario);
    report_.set_bulkhead_version(version());
    for (const std::string& word : options_.command_line) {
      report_.add_command(wire::printable(word));
    }
    report_.set_interrupted(interrupts_.count() > 0);
    *report_.mutable_machine() =
        describe_machine(has_madvise_guards() ? "madvise guard pages" : "mprotect guard pages");
    complete_bench(report_);
  }

  const Options& options_;
  Host& host_;
  Interrupts& interrupts_;
  Progress progress_;
  v1::BenchReport report_;
};

}  // namespace

int bench(const Options& options, Host& host, Interrupts& interrupts) {
  Inquiry inquiry(host, interrupts, options.worker_path);
  // Of the same build, or its figures would be of another one.
  if (const auto description = inquiry.describe(); !description) {
    return complain(description.error());
  }
  const auto list = inquiry.bench_rows(options.scenario);
  if (!list) return complain(list.error());
  const auto rows = chosen_rows(*list, options.only);
  if (!rows) return complain(rows.error());

  const v1::BenchReport report = Bench(options, host, interrupts).run(*rows);
  const int said = options.json == "-" ? kExitDone : say(render_bench(report));
  if (!options.json.empty()) {
    if (const auto written = write_json(report, options.json); !written) {
      return complain({kExitEnvironment, fmt::format("bulkhead: {}\n", written.error().text)});
    }
  }
  if (said != kExitDone) return said;
  if (interrupts.count() > 0) return 128 + interrupts.first_signal();
  return report.failures().empty() ? kExitDone : kExitUnfinished;
}

}  // namespace bulkhead::coordinator
