#include "cli/judge.hpp"

#include <sys/stat.h>

#include <algorithm>
#include <bulkhead/wire/text.hpp>
#include <cctype>
#include <cerrno>
#include <cstring>

#include "cli/output_paths.hpp"
#include "cli/surroundings.hpp"

namespace bulkhead::coordinator {

const std::vector<std::string>* Judge::all(const std::string& flag) const {
  const auto found = words_.flags.find(flag);
  return found == words_.flags.end() ? nullptr : &found->second;
}

std::optional<Judge::Given> Judge::given(const std::string& flag) const {
  if (const auto* values = all(flag)) return Given{"--" + flag, values->back(), "flag"};
  static const std::vector<std::string> kFromEnvironment{
      "workers",       "processors", "in-flight",    "seed",    "repeat", "worker",
      "checkpoint",    "timeout",    "max-attempts", "threads", "stall",  "job-timeout",
      "worker-memory", "restarts",   "logs",         "rate",    "launch", "transport"};
  if (std::find(kFromEnvironment.begin(), kFromEnvironment.end(), flag) == kFromEnvironment.end()) {
    return std::nullopt;
  }
  std::string variable = "BULKHEAD_" + flag;
  for (char& c : variable) c = c == '-' ? '_' : static_cast<char>(std::toupper(c));
  if (auto value = environment(variable)) return Given{variable, *value, "environment"};
  return std::nullopt;
}

void Judge::plan(const std::string& name, const std::string& value, const char* source) {
  v1::PlanEntry& entry = options_.plan.emplace_back();
  entry.set_name(name);
  entry.set_value(wire::printable(value));  // bytes that are not UTF-8 have no place in a report
  entry.set_source(source);
}

Done Judge::program_input() {
  if (Done done = settings("set", options_.settings); !done) return done;
  if (all("set") == nullptr) plan("set", "none", "default");
  if (const auto* inputs = all("input")) {
    for (const std::string& input : *inputs) {
      struct stat found {};
      if (input.empty())
        return stop(kExitUsage, "--input: the path is empty; name a file or folder");
      if (stat(input.c_str(), &found) != 0) {
        return stop(kExitEnvironment, "--input: {}: {}; name a file or folder that exists",
                    in_quotes(input), std::strerror(errno));
      }
      options_.inputs.push_back(input);
      plan("input", input, "flag");
    }
  } else {
    plan("input", "none", "default");
  }
  return {};
}

Done Judge::settings(const std::string& flag,
                     std::vector<std::pair<std::string, std::string>>& out) {
  const auto* const given = all(flag);
  if (given == nullptr) return {};
  for (const std::string& setting : *given) {
    const std::size_t equals = setting.find('=');
    if (equals == std::string::npos || equals == 0) {
      return stop(kExitUsage, "--{0}: {1} is not NAME=VALUE; write such as --{0} chunk=256KiB",
                  flag, in_quotes(setting));
    }
    out.emplace_back(setting.substr(0, equals), setting.substr(equals + 1));
    plan(flag, setting, "flag");
  }
  return {};
}

Done Judge::worker_path() {
  const auto from = given("worker");
  options_.worker_path = from ? from->text : default_worker();
  if (options_.worker_path.empty()) {
    return stop(kExitUsage, "--worker: the path is empty; name the worker's executable");
  }
  // Relative to the current directory, never looked up in PATH.
  if (options_.worker_path.find('/') == std::string::npos) {
    options_.worker_path.insert(0, "./");
  }
  plan("worker", options_.worker_path, from);
  return {};
}

Done Judge::json() {
  if (const auto json = given("json")) {
    if (Done done = judge_json(json->text); !done) return done;
    options_.json = json->text;
  }
  plan("json", options_.json.empty() ? "none" : options_.json,
       options_.json.empty() ? "default" : "flag");
  return {};
}

}  // namespace bulkhead::coordinator
