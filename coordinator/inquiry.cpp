#include "inquiry.hpp"

#include <fmt/format.h>

#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/text.hpp>
#include <cmath>
#include <utility>

#include "errand.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr auto kAnswerDeadline = std::chrono::seconds(20);

}  // namespace

tl::unexpected<Stop> Inquiry::refuse(const std::string& text) const {
  return tl::unexpected(Stop{kExitEnvironment, fmt::format("bulkhead: worker '{}' {}\n",
                                                           wire::printable(executable_), text)});
}

// What it printed. `what` completes "did not …".
tl::expected<std::string, Stop> Inquiry::ask(std::vector<std::string> arguments,
                                             const std::string& what) {
  ErrandEnd end = run_errand(
      host_, interrupts_,
      {.executable = executable_, .arguments = std::move(arguments), .deadline = kAnswerDeadline});
  if (end.interrupted) return tl::unexpected(Stop{128 + interrupts_.first_signal(), {}});
  if (!end.launched) return refuse(end.failure);
  if (end.late) return refuse(fmt::format("did not {} in time; is it a bulkhead worker?", what));
  if (!end.failure.empty()) {
    return refuse(fmt::format("did not {} (it {}); is it a bulkhead worker?", what, end.failure));
  }
  return std::move(end.output);
}

tl::expected<v1::WorkerDescription, Stop> Inquiry::describe() {
  const auto output = ask({"--describe"}, "describe itself");
  if (!output) return tl::unexpected(output.error());
  v1::WorkerDescription description;
  if (!parse_json(*output, description)) {
    return refuse("described itself in words that are no description; is it a bulkhead worker?");
  }
  if (description.protocol() != wire::kProtocol || description.build_id() != wire::build_id()) {
    return refuse(
        fmt::format("is of another build ({}, protocol {}) than this bulkhead ({}, protocol {}): "
                    "build both from one source",
                    wire::printable(description.build_id(), 40), description.protocol(),
                    wire::build_id(), wire::kProtocol));
  }
  return description;
}

tl::expected<double, Stop> Inquiry::calibrate() {
  const auto output = ask({"--calibrate"}, "calibrate its work");
  if (!output) return tl::unexpected(output.error());
  v1::Calibration calibration;
  const bool parsed = parse_json(*output, calibration);
  const double rate = calibration.iterations_per_second();
  if (!parsed || !std::isfinite(rate) || rate < 1) {
    return refuse("calibrated its work with words that are no calibration");
  }
  return rate;
}

tl::expected<v1::BenchList, Stop> Inquiry::bench_rows(const std::string& bench) {
  const auto output = ask({"--bench", bench}, "list its benches");
  if (!output) return tl::unexpected(output.error());
  v1::BenchList list;
  if (!parse_json(*output, list) || list.rows().empty()) {
    return refuse("listed its benches in words that are no list");
  }
  return list;
}

}  // namespace bulkhead::coordinator
