#include "inquiry.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>

#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/text.hpp>
#include <cmath>
#include <utility>

namespace bulkhead::coordinator {
namespace {

constexpr auto kDeadline = std::chrono::seconds(20);
constexpr int kAttempts = 3;

template <class Message>
bool parse(const std::string& json, Message& message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  return google::protobuf::util::JsonStringToMessage(json, &message, options).ok();
}

}  // namespace

tl::unexpected<Stop> Inquiry::refuse(const std::string& text) const {
  return tl::unexpected(Stop{kExitEnvironment, fmt::format("bulkhead: worker '{}' {}\n",
                                                           wire::printable(executable_), text)});
}

Result<void> Inquiry::launch(const std::string& flag) {
  ++key_.incarnation;
  LaunchSpec spec;
  spec.key = key_;
  spec.executable = executable_;
  spec.arguments = {flag};
  spec.capture_stdout = true;
  return host_.launch(std::move(spec));
}

// What it printed. `what` completes "did not …".
tl::expected<std::string, Stop> Inquiry::ask(const std::string& flag, const std::string& what) {
  if (auto launched = launch(flag); !launched) {
    return refuse("can't be launched: " + launched.error().text);
  }
  const base::TimePoint deadline = base::Clock::now() + kDeadline;
  bool late = false;
  int kills = 0;
  for (;;) {
    for (HostEvent& event : host_.take_events()) {
      if (const auto* failed = std::get_if<HostLaunchFailed>(&event)) {
        const bool again = failed->error.code == Code::kUnavailable && !late;
        if (again && launch(flag)) continue;  // its launcher died meanwhile
        return refuse(fmt::format("can't be launched: {}", failed->error.text));
      }
      auto* exited = std::get_if<HostExited>(&event);
      if (exited == nullptr) continue;
      if (interrupts_.count() > 0) {
        return tl::unexpected(Stop{128 + interrupts_.first_signal(), {}});
      }
      if (late) return refuse(fmt::format("did not {} in time; is it a bulkhead worker?", what));
      // Killed, perhaps by a stranger: it is asked again, as a worker would be started again.
      if (!exited->exit_code && ++kills < kAttempts && launch(flag)) continue;
      if (exited->exit_code != 0) {
        return refuse(fmt::format("did not {} (it ended with {} {}); is it a bulkhead worker?",
                                  what, exited->signal ? "signal" : "code",
                                  exited->signal.value_or(exited->exit_code.value_or(-1))));
      }
      return std::move(exited->output);
    }
    if (interrupts_.poll() > 0 || (!late && base::Clock::now() > deadline)) {
      late = true;
      host_.kill_group(key_);
    }
    pollfd waits[] = {{host_.event_fd(), POLLIN, 0}, {interrupts_.fd(), POLLIN, 0}};
    ::poll(waits, 2, 100);
  }
}

tl::expected<v1::WorkerDescription, Stop> Inquiry::describe() {
  const auto output = ask("--describe", "describe itself");
  if (!output) return tl::unexpected(output.error());
  v1::WorkerDescription description;
  if (!parse(*output, description)) {
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
  const auto output = ask("--calibrate", "calibrate its work");
  if (!output) return tl::unexpected(output.error());
  v1::Calibration calibration;
  const bool parsed = parse(*output, calibration);
  const double rate = calibration.iterations_per_second();
  if (!parsed || !std::isfinite(rate) || rate < 1) {
    return refuse("calibrated its work with words that are no calibration");
  }
  return rate;
}

}  // namespace bulkhead::coordinator
