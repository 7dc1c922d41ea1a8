#include "errand.hpp"

#include <fmt/format.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>

#include <bulkhead/wire/text.hpp>
#include <utility>

namespace bulkhead::coordinator {
namespace {

constexpr int kAttempts = 3;

Result<void> launch(Host& host, WorkerKey& key, const Errand& errand) {
  ++key.incarnation;
  LaunchSpec spec;
  spec.key = key;
  spec.executable = errand.executable;
  spec.arguments = errand.arguments;
  spec.capture_stdout = true;
  return host.launch(std::move(spec));
}

ErrandEnd not_launched(const Error& error) {
  ErrandEnd end;
  end.launched = false;
  end.failure = "can't be launched: " + error.text;
  return end;
}

ErrandEnd end_of(HostExited&& exited) {
  ErrandEnd end;
  end.output = std::move(exited.output);
  end.aside = std::move(exited.stderr_tail);
  end.exit_code = exited.exit_code;
  if (exited.exit_code != 0) {
    end.failure = fmt::format("ended with {} {}", exited.signal ? "signal" : "code",
                              exited.signal.value_or(exited.exit_code.value_or(-1)));
  }
  return end;
}

}  // namespace

ErrandEnd run_errand(Host& host, Interrupts& interrupts, const Errand& errand) {
  WorkerKey key;  // worker 0 is in no run; a new incarnation each time
  if (auto launched = launch(host, key, errand); !launched) return not_launched(launched.error());
  const base::TimePoint deadline = base::Clock::now() + errand.deadline;
  const int interrupts_before = interrupts.count();
  bool interrupted = false;
  bool late = false;
  int kills = 0;
  for (;;) {
    for (HostEvent& event : host.take_events()) {
      if (const auto* failed = std::get_if<HostLaunchFailed>(&event)) {
        const bool again = failed->error.code == Code::kUnavailable && !late && !interrupted;
        if (again && launch(host, key, errand)) continue;  // its launcher died meanwhile
        return not_launched(failed->error);
      }
      auto* exited = std::get_if<HostExited>(&event);
      if (exited == nullptr || exited->key != key) continue;
      const bool ours = late || interrupted;
      if (!ours && !exited->exit_code && ++kills < kAttempts && launch(host, key, errand)) continue;
      ErrandEnd end = end_of(std::move(*exited));
      end.late = late;
      end.interrupted = interrupted;
      if (late) end.failure = "did not end in time";
      if (interrupted) end.failure = "was interrupted";
      return end;
    }
    if (interrupts.poll() > interrupts_before) interrupted = true;
    if (base::Clock::now() > deadline) late = true;
    if (late || interrupted) host.kill_group(key);
    pollfd waits[] = {{host.event_fd(), POLLIN, 0}, {interrupts.fd(), POLLIN, 0}};
    ::poll(waits, 2, 100);
  }
}

std::string last_line(std::string_view aside) {
  while (!aside.empty() && aside.back() == '\n') aside.remove_suffix(1);
  return wire::printable(aside.substr(aside.rfind('\n') + 1), 400);
}

bool parse_json(const std::string& output, google::protobuf::Message& message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;
  return google::protobuf::util::JsonStringToMessage(output, &message, options).ok();
}

}  // namespace bulkhead::coordinator
