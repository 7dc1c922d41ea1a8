#include "outputs.hpp"

#include <unistd.h>

#include <bulkhead/wire/text.hpp>

#include "cli/flags.hpp"
#include "report/write_file.hpp"

namespace bulkhead::coordinator {

std::set<std::string> outputs_of(const v1::ProgramDescription& program,
                                 const SettingValues& settings) {
  std::set<std::string> outputs;
  for (const v1::ParameterDescription& parameter : program.parameters()) {
    const auto value = settings.find(parameter.name());
    const bool named = value != settings.end() && !value->second.empty();
    if (parameter.type() == v1::PARAMETER_OUTPUT && named) outputs.insert(parameter.name());
  }
  return outputs;
}

tl::expected<void, Stop> check_outputs(const std::set<std::string>& outputs,
                                       const SettingValues& settings) {
  for (const std::string& name : outputs) {
    if (const auto can = check_can_write(settings.at(name)); !can) {
      return stop(kExitEnvironment, "--set {}: {}", wire::printable(name, 200), can.error().text);
    }
  }
  return {};
}

void OutputFiles::take(const std::map<std::string, std::string>& files) {
  for (const auto& [name, path] : files) {
    // What can't be removed goes with the run directory.
    if (!kept_.emplace(name, path).second) static_cast<void>(::unlink(path.c_str()));
  }
}

tl::expected<void, Stop> OutputFiles::place(const std::set<std::string>& outputs,
                                            const SettingValues& settings) const {
  for (const std::string& name : outputs) {
    const auto kept = kept_.find(name);
    if (kept == kept_.end() || ::access(kept->second.c_str(), F_OK) != 0) {
      return stop(kExitUnfinished, "--set {}: the program gave its answer, but wrote no file",
                  wire::printable(name, 200));
    }
    if (const auto copied = copy_file(kept->second, settings.at(name)); !copied) {
      return stop(kExitEnvironment, "--set {}: {}", wire::printable(name, 200),
                  copied.error().text);
    }
  }
  return {};
}

}  // namespace bulkhead::coordinator
