// What render_text() prints for made-up reports, compared byte by byte with tests/golden/*.txt.
// BULKHEAD_UPDATE_GOLDEN=1 in the environment writes those files anew.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <string>
#include <vector>

#include "report/report.hpp"
#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

using testing::HasSubstr;
using testing::Not;

void expect_golden(const std::string& name, const std::string& text) {
  const std::string path = std::string(BULKHEAD_SOURCE_DIR "/tests/golden/") + name;
  const char* update = std::getenv("BULKHEAD_UPDATE_GOLDEN");
  if (update != nullptr && std::string(update) == "1") {
    std::ofstream(path, std::ios::binary) << text;
  }
  std::ifstream file(path, std::ios::binary);
  std::ostringstream expected;
  expected << file.rdbuf();
  EXPECT_EQ(text, expected.str()) << path
                                  << ": set BULKHEAD_UPDATE_GOLDEN=1 to accept the new text";
}

// No figure, header or sentence of ours is wider than the promise; answers keep their own lines.
void expect_narrow(const std::string& text) {
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    EXPECT_LE(display_width(line), 110u) << line;
  }
}

struct Shape {
  const char* name;
  unsigned workers;
  unsigned processors;
  double wall;
  double pss;
  double messages;
};
constexpr Shape kSequential{"sequential", 1, 1, 2.4, 14.2e6, 24};
constexpr Shape kConcurrent{"concurrent", 1, 1, 2.41, 15.1e6, 26};
constexpr Shape kParallel{"parallel", 1, 2, 1.25, 17.9e6, 26};
constexpr Shape kProcesses{"processes", 4, 2, 1.43, 48.3e6, 1874};
constexpr const char* kAnswer =
    "files 4321, words 1234567, distinct 54321\n  the 9999\n  of 8888\n";

v1::RunReport new_report() {
  v1::RunReport report;
  report.set_program("wordcount");
  report.set_scenario("wordcount");
  report.set_seed(42);
  v1::Machine& machine = *report.mutable_machine();
  machine.set_kernel("Linux 6.1.0 x86_64");
  machine.set_cpu("Example CPU @ 2.50GHz");
  machine.set_cores(2);
  machine.set_memory_bytes(8.0 * 1024 * 1024 * 1024);
  machine.set_build("Release, GNU 12.2.0");
  return report;
}

v1::ModelReport& add_model(v1::RunReport& report, const Shape& shape, int repetitions) {
  v1::ModelReport& model = *report.add_models();
  model.set_model(shape.name);
  model.set_workers(shape.workers);
  model.set_processors(shape.processors);
  model.set_processors_per_worker(std::max(1u, shape.processors / shape.workers));
  model.set_transport("zmq-ipc");
  model.set_ran(true);
  model.mutable_answer()->set_checksum("aa11");
  model.mutable_answer()->set_text(kAnswer);
  for (int i = 0; i < repetitions; ++i) {
    v1::Repetition& repetition = *model.add_repetitions();
    const int phase = i * 7 + static_cast<int>(shape.workers);
    const double noise = 1 + 0.004 * (phase % 5 - 2);
    repetition.set_wall_seconds(shape.wall * noise);
    repetition.set_startup_seconds(0.012 * shape.workers * noise);
    repetition.set_cpu_seconds(2.4 * noise);
    repetition.set_pss_bytes(shape.pss);
    repetition.set_throughput_per_second(400 / (shape.wall * noise));
    repetition.set_messages(shape.messages);
    repetition.set_bytes(shape.messages * 1000);
    repetition.set_voluntary_switches(shape.messages * 3);
    repetition.set_involuntary_switches(120 + i);
    repetition.set_minor_faults(shape.pss / 4096);
    repetition.set_peak_rss_bytes(shape.pss * 1.5 / shape.workers);
    repetition.set_checksum("aa11");
    repetition.set_complete(true);
    repetition.mutable_jobs()->set_total(400);
    repetition.mutable_jobs()->set_done(400);
  }
  return model;
}

std::vector<Histogram> service_of(const v1::RunReport& report) {
  std::vector<Histogram> all(static_cast<std::size_t>(report.models_size()));
  for (int i = 0; i < report.models_size(); ++i) {
    for (int job = 0; job < 400 * report.models(i).repetitions_size(); ++job) {
      all[static_cast<std::size_t>(i)].record(0.004 + 1e-5 * (job % 400 + 1));
    }
  }
  return all;
}

void add_backtrace(v1::WorkerExit& exit) {
  const char* const functions[][2] = {
      {"mine::(anonymous namespace)::parse(std::string_view)", "/src/mine/parse.cpp:88"},
      {"mine::Wordcount::work(mine::Chunk const&) const", "/src/mine/wordcount.cpp:120"},
      {"bulkhead::worker::JobRunner::run(bulkhead::program::Value const&)", "/src/run.cpp:9"}};
  for (const auto& [symbol, source] : functions) {
    v1::BacktraceFrame& frame = *exit.add_backtrace();
    frame.set_address("0x5500aa00");
    frame.set_module("/src/mine/worker");
    frame.set_symbol(symbol);
    frame.set_source(source);
  }
}

void add_crash(v1::ModelReport& model, int repetition, double radius, double lost, double results) {
  v1::WorkerExit& exit = *model.add_exits();
  exit.set_worker(model.workers() == 1 ? 1 : 3);
  exit.set_incarnation(1);
  exit.set_verdict("signalled");
  exit.set_signal(11);
  exit.set_reason("killed by signal 11 (SIGSEGV)");
  exit.set_job(20);
  exit.set_detected_after_seconds(0.0021);
  exit.set_recovered_after_seconds(0.0187);
  exit.set_repetition(static_cast<std::uint32_t>(repetition));
  exit.set_blast_radius(radius);
  exit.set_lost_in_flight(lost);
  exit.set_results_lost(results);
  exit.set_fault_address("0xbad");
  exit.set_state("ready");
  add_backtrace(exit);
  v1::Jobs& jobs = *model.mutable_repetitions(repetition - 1)->mutable_jobs();
  jobs.set_lost_in_flight(lost);
  jobs.set_results_lost(results);
  jobs.set_retried(lost + results);
}

void add_fault(v1::RunReport& report, const char* text, double fired, double planned) {
  for (const v1::ModelReport& model : report.models()) {
    v1::FaultReport& fault = *report.add_faults();
    fault.set_text(text);
    fault.set_model(model.model());
    fault.set_fired(model.ran() ? fired : 0);
    fault.set_planned(planned);
  }
}

std::string finish(v1::RunReport& report) {
  complete_report(report, service_of(report), 42);
  const std::string text = render_text(report, false);
  expect_narrow(text);
  return text;
}

v1::RunReport four_models(int repetitions) {
  v1::RunReport report = new_report();
  for (const Shape& shape : {kSequential, kConcurrent, kParallel, kProcesses}) {
    add_model(report, shape, repetitions);
  }
  return report;
}

TEST(ReportGoldenTest, FourModelsWithoutFaults) {
  v1::RunReport report = four_models(5);
  expect_golden("report_no_faults.txt", finish(report));
}

// Sequential can do 167 jobs/s and is asked for 320: the last of 400 is late by more than a second.
TEST(ReportGoldenTest, AnOpenLoop) {
  v1::RunReport report = four_models(5);
  report.set_rate_per_second(320);
  std::vector<Histogram> latency(4);
  for (int m = 0; m < 4; ++m) {
    const bool behind = m == 0;
    for (int i = 0; i < 5; ++i) {
      v1::Repetition& repetition = *report.mutable_models(m)->mutable_repetitions(i);
      if (!behind) repetition.set_wall_seconds(1.2515);
      repetition.set_throughput_per_second(400 / repetition.wall_seconds());
      const double median = behind ? 0.575 : 0.0061 + 0.0002 * m + 0.00001 * ((i * 7 + m) % 5);
      repetition.set_latency_median_seconds(median);
      for (int job = 0; job < 400; ++job) {
        latency[static_cast<std::size_t>(m)].record(behind ? 0.00287 * (job + 1)
                                                           : median - 0.0002 + 1e-6 * job);
      }
    }
  }
  complete_report(report, service_of(report), 42, latency);
  const std::string text = render_text(report, false);
  expect_narrow(text);
  expect_golden("report_open_loop.txt", text);
}

TEST(ReportGoldenTest, EachModelComparedWithItself) {
  v1::RunReport report = new_report();
  for (const Shape& shape : {kParallel, kProcesses}) {
    add_model(report, shape, 6);
    v1::ModelReport& twin = add_model(report, shape, 6);
    twin.set_side("A/A");
    for (int i = 0; i < 6; ++i) {  // a little faster here, a little slower there
      v1::Repetition& repetition = *twin.mutable_repetitions(i);
      repetition.set_wall_seconds(repetition.wall_seconds() * (1 + 0.02 * (i - 2.4)));
    }
  }
  expect_golden("report_same_again.txt", finish(report));
}

TEST(ReportGoldenTest, ACrashInSharedMemoryAndInProcesses) {
  v1::RunReport report = new_report();
  v1::ModelReport& parallel = add_model(report, kParallel, 5);
  for (int i = 1; i <= 5; ++i) add_crash(parallel, i, 1, 2, 21);
  v1::ModelReport& processes = add_model(report, kProcesses, 5);
  for (int i = 1; i <= 5; ++i) add_crash(processes, i, 0.25, 1, 1);
  add_fault(report, "segv@job=20", 5, 5);
  expect_golden("report_segv.txt", finish(report));
}

TEST(ReportGoldenTest, AnswersThatDifferAndJobsGivenUp) {
  v1::RunReport report = four_models(1);
  v1::ModelReport& model = *report.mutable_models(3);
  model.mutable_answer()->set_checksum("bb22");
  model.mutable_answer()->set_text("files 4320");
  model.mutable_repetitions(0)->set_checksum("bb22");
  v1::Jobs& jobs = *model.mutable_repetitions(0)->mutable_jobs();
  jobs.set_failed(23);
  jobs.set_quarantined(1);
  for (int i = 0; i < 24; ++i) {
    v1::JobNote& note = *jobs.add_notes();
    note.set_job(i + 1);
    note.set_outcome(i == 3 ? "quarantined" : "failed");
    note.set_reason(i == 3 ? "its worker died 3 times" : "cannot open '/data/x'");
  }
  add_fault(report, "throw@job=9999", 0, 1);
  expect_golden("report_differs.txt", finish(report));
}

TEST(ReportGoldenTest, AModelThatCouldNotRun) {
  v1::RunReport report = new_report();
  v1::ModelReport& model = add_model(report, kSequential, 0);
  model.set_ran(false);
  model.clear_answer();
  model.set_reason(
      "the program 'ping-pong' waits for another task, and sequential runs each task to its end "
      "before the next starts: it would block for ever");
  add_model(report, kParallel, 3);
  add_model(report, kProcesses, 3);
  expect_golden("report_not_run.txt", finish(report));
}

TEST(ReportGoldenTest, AnInterruptedComparison) {
  v1::RunReport report = new_report();
  report.set_interrupted(true);
  v1::ModelReport& parallel = add_model(report, kParallel, 2);
  parallel.mutable_repetitions(1)->set_complete(false);
  parallel.set_interrupted(true);
  parallel.set_reason("interrupted by SIGINT in repetition 2 with 120 of 400 jobs done");
  v1::ModelReport& processes = add_model(report, kProcesses, 1);
  processes.mutable_repetitions(0)->set_complete(false);
  processes.mutable_repetitions(0)->clear_checksum();
  processes.clear_answer();
  processes.set_interrupted(true);
  expect_golden("report_interrupted.txt", finish(report));
}

TEST(ReportGoldenTest, OneModelAlone) {
  v1::RunReport report = new_report();
  add_model(report, kProcesses, 1);
  expect_golden("report_single.txt", finish(report));
}

TEST(ReportTextTest, ControlCharactersFromOutsideNeverReachTheOutput) {
  v1::RunReport report = four_models(1);
  const std::string evil =
      "\x1b]0;x\x07\r\x9b"
      "31m\xff";
  report.set_program("p" + evil);
  report.set_scenario("s" + evil);
  report.mutable_machine()->set_cpu(evil);
  report.mutable_models(0)->mutable_answer()->set_text("line\n" + evil);
  report.mutable_models(1)->set_reason(evil);
  report.mutable_models(2)->set_model(evil);
  add_crash(*report.mutable_models(3), 1, 0.25, 1, 1);
  v1::WorkerExit& exit = *report.mutable_models(3)->mutable_exits(0);
  exit.set_reason(evil);
  exit.set_fault_address(evil);
  exit.set_verdict(evil);
  v1::JobNote& note =
      *report.mutable_models(3)->mutable_repetitions(0)->mutable_jobs()->add_notes();
  note.set_outcome(evil);
  note.set_reason(evil);
  add_fault(report, evil.c_str(), 0, 1);
  complete_report(report, service_of(report), 1);
  const std::string text = render_text(report, false);
  EXPECT_EQ(std::count_if(text.begin(), text.end(),
                          [](char c) { return (c >= 0 && c < 0x20 && c != '\n') || c == 0x7f; }),
            0);
  EXPECT_THAT(text, Not(HasSubstr("\x9b"
                                  "31m")));
  EXPECT_THAT(text, Not(HasSubstr("\xff")));
  EXPECT_THAT(text, HasSubstr("\\x1b"));
}

TEST(ReportTextTest, ColourAddsNothingButStyle) {
  v1::RunReport report = four_models(5);
  report.mutable_models(1)->mutable_answer()->set_checksum("other");
  complete_report(report, service_of(report), 1);
  const std::string plain = render_text(report, false);
  std::string colored = render_text(report, true);
  EXPECT_NE(plain, colored);
  for (std::size_t at = colored.find('\033'); at != std::string::npos; at = colored.find('\033')) {
    colored.erase(at, colored.find('m', at) - at + 1);
  }
  EXPECT_EQ(plain, colored);
}

TEST(ReportTextTest, ACrashNamesItsCauseOnceAndKeepsAnyOtherReason) {
  v1::RunReport report = four_models(1);
  add_crash(*report.mutable_models(3), 1, 0.25, 1, 1);
  v1::WorkerExit& exit = *report.mutable_models(3)->mutable_exits(0);
  const auto text = [&report] { return render_text(report, false); };
  EXPECT_THAT(text(), HasSubstr(": SIGSEGV at 0xbad, job 20"));
  exit.set_reason("out of memory");
  EXPECT_THAT(text(), HasSubstr(": SIGSEGV at 0xbad (out of memory), job 20"));
  exit.clear_fault_address();
  exit.clear_signal();
  exit.set_verdict("exited");
  exit.set_exit_code(3);
  exit.set_reason("exited with code 3 without goodbye");
  EXPECT_THAT(text(), HasSubstr(": exited with code 3, job 20"));
}

TEST(ReportTextTest, AnEmptyReportStillRenders) {
  v1::RunReport report;
  complete_report(report, {}, 1);
  EXPECT_THAT(render_text(report, false), HasSubstr("0 repetitions"));
}

}  // namespace
}  // namespace bulkhead::coordinator
