#include "explore.hpp"

#include <bulkhead/v1/control.pb.h>
#include <google/protobuf/util/json_util.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/network.hpp>
#include <bulkhead/sched/explore.hpp>
#include <bulkhead/wire/text.hpp>
#include <cstdio>
#include <exception>
#include <map>
#include <string>
#include <string_view>

#include "exit_codes.hpp"
#include "fork_server.hpp"

namespace bulkhead::worker {
namespace {

constexpr std::size_t kMostText = 64 * 1024;

int refuse(const std::string& text) {
  std::fprintf(stderr, "%s\n", text.c_str());
  return kExitUsage;
}

void add_steps(std::string_view lines, v1::ExploreRun& run) {
  while (!lines.empty()) {
    const std::size_t end = std::min(lines.find('\n'), lines.size());
    run.add_steps(wire::printable(lines.substr(0, end)));
    lines.remove_prefix(std::min(end + 1, lines.size()));
  }
}

void set_finding(const sched::Finding& finding, v1::ExploreRun& run) {
  v1::ExploreFinding& to = *run.mutable_finding();
  to.set_seed(finding.seed);
  to.set_kind(sched::to_string(finding.kind));
  to.set_what(finding.what);
  to.set_said(wire::printable(finding.said, kMostText, true));
}

v1::ExploreRun trace_one(const sched::Exploration& exploration,
                         const std::function<void()>& program) {
  const sched::Trace trace = sched::trace(exploration, exploration.first_seed, program);
  v1::ExploreRun run;
  run.set_schedules(1);
  run.set_longest_steps(trace.choices);
  run.set_seconds(base::to_seconds(trace.took));
  if (trace.finding) set_finding(*trace.finding, run);
  add_steps(trace.steps, run);
  return run;
}

v1::ExploreRun search_many(const sched::Exploration& exploration,
                           const std::function<void()>& program) {
  const sched::Search search = sched::search(exploration, program);
  v1::ExploreRun run;
  run.set_schedules(search.schedules);
  run.set_longest_steps(search.longest);
  run.set_seconds(base::to_seconds(search.took));
  if (search.finding) {
    set_finding(*search.finding, run);
    add_steps(search.finding->steps, run);
  }
  return run;
}

int print(const v1::ExploreRun& run) {
  google::protobuf::util::JsonPrintOptions options;
  options.preserve_proto_field_names = true;
  std::string json;
  BULKHEAD_CHECK(google::protobuf::util::MessageToJsonString(run, &json, options).ok());
  std::fputs(json.c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : kExitInternal;
}

int explore(const v1::ExploreRequest& request, const program::NetworkRegistration& network,
            const program::Settings& settings) {
  const std::chrono::duration<double> limit(request.limit_seconds());
  const sched::Exploration exploration{.schedules = request.schedules(),
                                       .first_seed = request.first_seed(),
                                       .depth = request.depth(),
                                       .steps = request.steps(),
                                       .limit = std::chrono::duration_cast<base::Duration>(limit)};
  const auto program = [&] { program::run_checked(network, settings); };
  return print(request.trace() ? trace_one(exploration, program)
                               : search_many(exploration, program));
}

}  // namespace

int explore_main(const char* json) {
  v1::ExploreRequest request;
  if (!google::protobuf::util::JsonStringToMessage(json, &request).ok())
    return refuse("--explore: that is no ExploreRequest in JSON");
  const program::NetworkRegistration* const network = program::find_network(request.network());
  if (network == nullptr)
    return refuse("no network '" + wire::printable(request.network(), 200) + "' is here");
  if (!single_threaded())
    return refuse(
        "this process has started a thread before worker_main(), so its schedules "
        "cannot run in children of it");
  std::map<std::string, std::string> values;
  for (const auto& setting : request.settings()) values[setting.name()] = setting.value();
  try {
    const program::Settings settings(network->description, values,
                                     {request.inputs().begin(), request.inputs().end()});
    network->make(settings);  // refused here, it is the user's mistake
    return explore(request, *network, settings);
  } catch (const std::exception& error) {
    return refuse(error.what());
  } catch (...) {
    return refuse("the network could not be made: an exception that is not a std::exception");
  }
}

}  // namespace bulkhead::worker
