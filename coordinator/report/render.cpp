// The report on a terminal: header, cost of each model, what crashes did, and what came of it in
// words. At most kWidth columns for four models, except for texts from outside.
#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <cstring>
#include <map>
#include <string_view>
#include <utility>

#include "report/backtrace.hpp"
#include "report/facts.hpp"
#include "report/report.hpp"
#include "report/table.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr int kListedMax = 20;
constexpr const char* kAbsent = "–";

std::string shown(std::string_view text, std::size_t limit = 400) {
  return wire::printable(text, limit);
}

std::string or_absent(bool present, std::string text) {
  return present ? std::move(text) : kAbsent;
}

void add_paragraph(std::string& text, std::string_view words) {
  text += wrap(words, kWidth, 2);
  text += '\n';
}

std::string render_header(const v1::RunReport& report, bool color) {
  int repetitions = 0;
  for (const v1::ModelReport& model : report.models()) {
    repetitions = std::max(repetitions, complete_repetitions(model));
  }
  std::string text = styled(shown(report.program()), Style::kStrong, color);
  if (!report.scenario().empty() && report.scenario() != report.program()) {
    text += fmt::format(" ({})", shown(report.scenario()));
  }
  text += fmt::format(", seed {:.0f}, {}", report.seed(), counted(repetitions, "repetition"));
  if (is_open_loop(report)) {
    text += fmt::format(", open loop of {} jobs/s", digits(report.rate_per_second()));
  }
  if (report.interrupted()) text += ", " + styled("INTERRUPTED", Style::kAlarm, color);
  text += '\n';

  const v1::Machine& machine = report.machine();
  if (machine.cores() > 0) {
    add_paragraph(text,
                  fmt::format("{}, {}, {}, {}; {}", shown(machine.cpu()),
                              counted(machine.cores(), "usable core"), size(machine.memory_bytes()),
                              shown(machine.kernel()), shown(machine.build())));
  }
  std::string shapes;
  for (const v1::ModelReport& model : report.models()) {
    if (!model.ran()) continue;
    shapes += fmt::format("{}{} {} × {}", shapes.empty() ? "" : ", ", shown(label(report, model)),
                          model.workers(), model.processors_per_worker());
  }
  if (!shapes.empty()) {
    add_paragraph(text, fmt::format("workers × processors of each: {}", shapes));
  }
  return text;
}

std::string unmeasured_words(const v1::ModelReport& model) {
  const std::string what = !model.ran()          ? "did not run"
                           : model.interrupted() ? "interrupted"
                                                 : "did not finish";
  return model.reason().empty() ? what : what + ": " + shown(model.reason());
}

std::string render_costs(const v1::RunReport& report, bool color) {
  bool intervals = false;
  for (const v1::ModelReport& model : report.models()) {
    intervals = intervals || model.wall_seconds().has_low();
  }
  std::vector<std::string> headers{"model", "wall"};
  if (intervals) headers.push_back("wall\n95 %");
  const bool network = report.tasks_size() > 0;
  headers.push_back(network ? shown(report.unit()) + "/s" : "jobs/s");
  for (const char* header : {"speed-up", "service\np50", "service\np99",
                             network ? "of\ntasks" : "of\njobs", "CPU", "PSS", "start-up"}) {
    headers.push_back(header);
  }
  Table table(std::move(headers));
  for (const v1::ModelReport& model : report.models()) {
    const std::string name = shown(label(report, model));
    if (!is_measured(model)) {
      table.add_note(name, unmeasured_words(model));
      continue;
    }
    const v1::Estimate& wall = model.wall_seconds();
    const v1::Latency& service = model.service_seconds();
    std::vector<Cell> cells{{name, Style::kStrong}, {duration(wall.median())}};
    if (intervals) {
      cells.push_back(
          {or_absent(wall.has_low(), duration_interval(wall.low(), wall.high(), wall.median()))});
    }
    cells.push_back({digits(model.throughput_per_second().median())});
    cells.push_back({or_absent(model.has_speedup(), digits(model.speedup()) + "×")});
    cells.push_back({or_absent(service.count() > 0, duration(service.p50()))});
    cells.push_back({or_absent(service.has_p99(), duration(service.p99()))});
    cells.push_back({or_absent(service.count() > 0, whole(service.count()))});
    cells.push_back({duration(model.cpu_seconds().median())});
    cells.push_back({or_absent(model.has_pss_bytes(), size(model.pss_bytes().median()))});
    cells.push_back({duration(model.startup_seconds().median())});
    table.add_row(std::move(cells));
  }
  return table.render(color, kWidth);
}

// An open loop: its rate settles the wall, so latency is what the models differ in.
std::string render_latencies(const v1::RunReport& report, bool color) {
  const bool intervals =
      std::any_of(report.models().begin(), report.models().end(),
                  [](const v1::ModelReport& model) { return model.latency_seconds().has_low(); });
  std::vector<std::string> headers{"model", "latency\np50"};
  if (intervals) headers.push_back("p50\n95 %");
  for (const char* header : {"latency\np99", "latency\np99.9", "latency\nmax", "of\njobs", "jobs/s",
                             "CPU", "PSS", "start-up"}) {
    headers.push_back(header);
  }
  Table table(std::move(headers));
  for (const v1::ModelReport& model : report.models()) {
    const std::string name = shown(label(report, model));
    if (!is_measured(model)) {
      table.add_note(name, unmeasured_words(model));
      continue;
    }
    const v1::Latency& latency = model.latency_seconds();
    const bool any = latency.count() > 0;
    std::vector<Cell> cells{{name, Style::kStrong}, {or_absent(any, duration(latency.median()))}};
    if (intervals) {
      cells.push_back({or_absent(
          latency.has_low(), duration_interval(latency.low(), latency.high(), latency.median()))});
    }
    cells.push_back({or_absent(latency.has_p99(), duration(latency.p99()))});
    cells.push_back({or_absent(latency.has_p999(), duration(latency.p999()))});
    cells.push_back({or_absent(any, duration(latency.max()))});
    cells.push_back({whole(latency.count())});
    cells.push_back({digits(model.throughput_per_second().median())});
    cells.push_back({duration(model.cpu_seconds().median())});
    cells.push_back({or_absent(model.has_pss_bytes(), size(model.pss_bytes().median()))});
    cells.push_back({duration(model.startup_seconds().median())});
    table.add_row(std::move(cells));
  }
  return table.render(color, kWidth);
}

std::string render_resources(const v1::RunReport& report, bool color) {
  Table table({"model", "messages", "voluntary\nswitches", "involuntary\nswitches",
               "minor\npage faults", "major\npage faults", "peak RSS\nof a worker"});
  for (const v1::ModelReport& model : report.models()) {
    if (!is_measured(model)) continue;
    table.add_row({{shown(label(report, model)), Style::kStrong},
                   {whole(model.messages())},
                   {whole(model.voluntary_switches().median())},
                   {whole(model.involuntary_switches().median())},
                   {whole(model.minor_faults().median())},
                   {whole(model.major_faults().median())},
                   {or_absent(model.has_peak_rss_bytes(), size(model.peak_rss_bytes().median()))}});
  }
  return table.render(color, kWidth);
}

Cell answer_cell(const v1::RunReport& report, const v1::ModelReport& model) {
  if (answer_checksum(model).empty()) return {"none", Style::kPlain};
  if (report.models_size() == 1) return {"given", Style::kPlain};  // nothing to compare it with
  if (model.answer_equal()) return {"equal", Style::kPlain};
  return {"DIFFERS", Style::kAlarm};
}

// Where something was looked at: what crossing cost, part by part.
std::string render_crossings(const v1::RunReport& report, bool color) {
  Table table({"model", "crossed", "looked\nat", "whole", "encode", "copy", "system\ncall",
               "wake-up", "queueing", "decode", "rest", "of its\nCPU"});
  bool any = false;
  for (const v1::ModelReport& model : report.models()) {
    if (!model.has_cost()) continue;
    any = true;
    const v1::Cost& cost = model.cost();
    table.add_row({{shown(label(report, model)), Style::kStrong},
                   {whole(cost.crossed())},
                   {whole(cost.samples())},
                   {duration(cost.whole_seconds())},
                   {duration(cost.encode_seconds())},
                   {duration(cost.copy_seconds())},
                   {duration(cost.system_call_seconds())},
                   {duration(cost.wake_up_seconds())},
                   {duration(cost.queueing_seconds())},
                   {duration(cost.decode_seconds())},
                   {duration(cost.rest_seconds())},
                   {fmt::format("{:.1f} %", 100 * cost.processor_share())}});
  }
  if (!any) return "";
  return styled("what a message cost, in the mean\n", Style::kFaint, color) +
         table.render(color, kWidth);
}

// Zero is quiet, anything else is not what a run is hoped to be.
Cell loss_cell(double count) { return {whole(count), count > 0 ? Style::kAlarm : Style::kPlain}; }

std::string render_losses(const v1::RunReport& report, bool color) {
  Table table({"model", "crashes", "detected\nafter", "recovered\nafter", "lost in\nflight",
               "results\nlost", "retried", "quarantined", "failed", "blast\nradius", "answer"});
  for (const v1::ModelReport& model : report.models()) {
    if (!model.ran()) continue;
    const v1::Jobs& jobs = model.jobs();
    table.add_row(
        {{shown(label(report, model)), Style::kStrong},
         {whole(model.crashes())},
         {or_absent(model.has_detected_after_seconds(), duration(model.detected_after_seconds()))},
         {or_absent(model.has_recovered_after_seconds(),
                    duration(model.recovered_after_seconds()))},
         {whole(jobs.lost_in_flight())},
         {whole(jobs.results_lost())},
         {whole(jobs.retried())},
         loss_cell(jobs.quarantined()),
         loss_cell(jobs.failed()),
         {or_absent(model.has_blast_radius(), fmt::format("{:.2f}", model.blast_radius()))},
         answer_cell(report, model)});
  }
  const bool summed =
      std::any_of(report.models().begin(), report.models().end(),
                  [](const v1::ModelReport& model) { return model.repetitions_size() > 1; });
  return (summed ? "counts are sums over all repetitions\n" : "") + table.render(color, kWidth);
}

std::string signal_name(std::uint32_t signal) {
  const char* name = sigabbrev_np(static_cast<int>(signal));
  return name != nullptr ? fmt::format("SIG{}", name) : fmt::format("signal {}", signal);
}

std::string cause_words(const v1::WorkerExit& exit) {
  if (exit.verdict() == "signalled" && exit.has_signal()) {
    return signal_name(exit.signal()) + (exit.stack_overflow() ? ", stack overflow" : "");
  }
  if (exit.verdict() == "exited" && exit.has_exit_code()) {
    return fmt::format("exited with code {}{}", exit.exit_code(),
                       exit.exit_code() == 0 ? " without a goodbye" : "");
  }
  return shown(exit.verdict());
}

// The supervisor's words for what cause_words() says already.
bool repeats_cause(const v1::WorkerExit& exit) {
  if (exit.verdict() == "signalled") {
    return exit.reason() ==
           fmt::format("killed by signal {} ({})", exit.signal(), signal_name(exit.signal()));
  }
  return exit.verdict() == "exited" &&
         exit.reason() == fmt::format("exited with code {} without goodbye", exit.exit_code());
}

std::string crash_line(const v1::RunReport& report, const v1::WorkerExit& exit,
                       const std::string& name, bool several) {
  std::string text =
      fmt::format("{} worker {} incarnation {}", name, exit.worker(), exit.incarnation());
  if (several) text += fmt::format(" (repetition {})", exit.repetition());
  text += ": " + cause_words(exit);
  if (!exit.fault_address().empty()) text += " at " + shown(exit.fault_address());
  if (!exit.reason().empty() && !repeats_cause(exit)) {
    text += fmt::format(" ({})", shown(exit.reason()));
  }
  if (exit.has_job()) {
    text += ", " + job_words(report, exit.job());
  } else if (exit.suspects_size() > 0) {
    text += fmt::format(", suspects: {}s ", job_noun(report));
    for (int i = 0; i < exit.suspects_size() && i < kListedMax; ++i) {
      text += fmt::format("{}{}", i > 0 ? ", " : "", job_name(report, exit.suspects(i)));
    }
    if (exit.suspects_size() > kListedMax) {
      text += fmt::format(" and {} more", exit.suspects_size() - kListedMax);
    }
  }
  if (exit.has_detected_after_seconds()) {
    text += ", detected " + duration(exit.detected_after_seconds());
  }
  text += exit.has_recovered_after_seconds()
              ? ", recovered " + duration(exit.recovered_after_seconds())
              : ", not replaced";
  if (exit.has_log()) text += ", log " + shown(exit.log());
  return text;
}

std::string render_crashes(const v1::RunReport& report) {
  std::string text;
  BacktraceListing backtraces;
  int more = 0;
  int listed = 0;
  for (const v1::ModelReport& model : report.models()) {
    const std::string name = shown(label(report, model));
    for (const v1::WorkerExit& exit : model.exits()) {
      if (!is_crash(exit)) continue;
      if (listed == kListedMax) {
        ++more;
        continue;
      }
      ++listed;
      add_paragraph(text, crash_line(report, exit, name, model.repetitions_size() > 1));
      text += backtraces.render(exit);
    }
  }
  if (more > 0) add_paragraph(text, fmt::format("and {} more", counted(more, "crash")));
  if (backtraces.left_out() > 0) {
    add_paragraph(text, fmt::format("{} not shown: --json has all",
                                    counted(backtraces.left_out(), "other backtrace")));
  }
  return text;
}

// A worker that the run went on without; why a model did not finish stands in its row.
std::string render_given_up(const std::string& name, const v1::ModelReport& model) {
  std::string text;
  int listed = 0;
  for (const v1::GivenUp& worker : model.given_up()) {
    if (model.reason().find(worker.reason()) != std::string::npos) continue;
    if (++listed > kListedMax) continue;
    std::string line = name;
    if (model.repetitions_size() > 1) line += fmt::format(" (repetition {})", worker.repetition());
    add_paragraph(text, line + ": " + shown(worker.reason()));
  }
  const int more = listed - kListedMax;
  if (more > 0)
    add_paragraph(text, fmt::format("{}: gave up on {} more", name, counted(more, "worker")));
  return text;
}

// Failed and quarantined jobs of one model, the same job of several repetitions once.
std::string render_notes(const v1::RunReport& report, const std::string& name,
                         const v1::Jobs& jobs) {
  std::map<std::pair<double, std::string>, std::pair<v1::JobNote, int>> notes;
  for (const v1::JobNote& note : jobs.notes()) {
    auto& entry = notes[{note.job(), note.outcome()}];
    entry.first = note;
    ++entry.second;
  }
  std::string text;
  int listed = 0;
  for (const auto& [key, entry] : notes) {
    if (listed++ == kListedMax) break;
    const auto& [note, times] = entry;
    std::string line =
        fmt::format("{}: {} {}", name, job_words(report, note.job()), shown(note.outcome()));
    if (times > 1) line += fmt::format(" in {} repetitions", times);
    if (!note.reason().empty()) line += ": " + shown(note.reason());
    add_paragraph(text, line);
  }
  const int more = static_cast<int>(notes.size()) - kListedMax;
  if (more > 0) add_paragraph(text, fmt::format("{}: and {} more", name, more));
  return text;
}

void append_block(std::string& text, const std::string& title, const std::string& bytes,
                  bool color) {
  text += styled(title, Style::kStrong, color) + "\n";
  std::string lines = wire::printable(bytes, 16384, true);
  while (lines.ends_with('\n')) lines.pop_back();
  std::size_t at = 0;
  while (at <= lines.size()) {
    const std::size_t end = std::min(lines.find('\n', at), lines.size());
    text += fmt::format("{}{}\n", end > at ? "  " : "", lines.substr(at, end - at));
    at = end + 1;
  }
}

// Once where all agree; else each text with the models that gave it.
std::string render_answers(const v1::RunReport& report, bool color) {
  std::vector<std::pair<std::string, std::string>> answers;  // text, models
  for (const v1::ModelReport& model : report.models()) {
    const std::string& given = model.answer().text();
    if (given.empty()) continue;
    const std::string name = shown(label(report, model));
    const auto same = std::find_if(answers.begin(), answers.end(),
                                   [&](const auto& answer) { return answer.first == given; });
    if (same != answers.end()) {
      same->second += ", " + name;
    } else {
      answers.emplace_back(given, name);
    }
  }
  std::string text;
  for (const auto& [answer, models] : answers) {
    append_block(text, answers.size() == 1 ? "answer" : "answer of " + models, answer, color);
  }
  return text;
}

void add_section(std::string& text, const std::string& section) {
  if (section.empty()) return;
  if (!text.empty()) text += '\n';
  text += section;
}

}  // namespace

std::string render_text(const v1::RunReport& report, bool color) {
  std::string text = render_header(report, color);
  bool ran = false;
  bool harmed = report.faults_size() > 0;
  for (const v1::ModelReport& model : report.models()) {
    ran = ran || model.ran();
    harmed = harmed || model.crashes() > 0 || model.jobs().failed() > 0 ||
             model.jobs().quarantined() > 0 ||
             (!answer_checksum(model).empty() && !model.answer_equal());
  }
  if (report.models_size() > 0) {
    add_section(
        text, is_open_loop(report) ? render_latencies(report, color) : render_costs(report, color));
  }
  if (std::any_of(report.models().begin(), report.models().end(), is_measured)) {
    add_section(text, render_resources(report, color));
    add_section(text, render_crossings(report, color));
  }
  if (harmed && ran) add_section(text, render_losses(report, color));
  std::string events = render_crashes(report);
  for (const v1::ModelReport& model : report.models()) {
    const std::string name = shown(label(report, model));
    events += render_given_up(name, model);
    events += render_notes(report, name, model.jobs());
    if (model.has_lent_seconds()) {
      add_paragraph(events, fmt::format("{}: its scheduler lent a processor for {} a repetition, "
                                        "because goroutines computed for more than 100 ms without "
                                        "a scheduling point and others waited",
                                        name, duration(model.lent_seconds().median())));
    }
    if (model.has_alone_seconds()) {
      add_paragraph(events, fmt::format("{}: its scheduler ran on one processor alone for {} a "
                                        "repetition, because its goroutines, which hand over to "
                                        "one another all the time, got more done so",
                                        name, duration(model.alone_seconds().median())));
    }
    if (is_measured(model) && !model.reason().empty()) {
      add_paragraph(events, fmt::format("{}: {}", name, shown(model.reason())));
    }
  }
  add_section(text, events);
  add_section(text, render_answers(report, color));
  std::string sentences;
  for (const std::string& sentence : report.verdict()) {
    add_paragraph(sentences, shown(sentence, 4096));
  }
  add_section(text, sentences);
  return text;
}

}  // namespace bulkhead::coordinator
