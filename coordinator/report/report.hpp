// From measurements to the table, the sentences and the JSON file.
#pragma once

#include <bulkhead/v1/report.pb.h>

#include <bulkhead/base/error.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "report/histogram.hpp"

namespace bulkhead::coordinator {

// Fills what follows from the rest of the report: per-model estimates over complete repetitions
// (median; bootstrap 95 % interval of the median from 5 repetitions up, resampled from `seed`),
// comparisons of walls (of an open loop: of latencies), speed-up over sequential, answer_equal,
// medians of detection and recovery, mean blast radius, crashes, and the verdict sentences; jobs as
// the sum of the repetitions' unless it is set. `service` and `latency` hold one histogram per
// model, in order; the second where there is an open loop. Repetition i of one model is paired with
// repetition i of another. Exits, faults, reasons and answers are the caller's.
void complete_report(v1::RunReport& report, const std::vector<Histogram>& service,
                     std::uint64_t seed, const std::vector<Histogram>& latency = {});

// p50, maximum and count; the higher percentiles where the histogram supports them.
void set_percentiles(const Histogram& histogram, v1::Latency& latency);

// Fills median and interval of each row from its runs.
void complete_bench(v1::BenchReport& report);

// Its table for a terminal, and what gave no figures.
std::string render_bench(const v1::BenchReport& report);

// What `bulkhead explore` found, for people: of a replay all steps, else a failure with its last
// ones.
std::string render_explore(const v1::ExploreReport& report);

// The table, fault rows and sentences for a terminal. Every text from outside passes printable().
std::string render_text(const v1::RunReport& report, bool color);

// Field names preserved, primitives always printed. To `path` by a temporary file beside it and a
// rename, so that a full disk leaves the old file as it was; "-" is stdout. What is not a regular
// file (a pipe, /dev/null) is written in place. A reader of stdout that left is no error; the
// caller ignores SIGPIPE.
Result<void> write_json(const google::protobuf::Message& report, const std::string& path);

v1::Machine describe_machine(const std::string& stack_guard);

}  // namespace bulkhead::coordinator
