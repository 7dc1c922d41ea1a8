// The flags of each command, and the words that a command line gave them. The one list: the parser,
// the suggestions and the tests of the help read it.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/options.hpp"

namespace bulkhead::coordinator {

enum class FlagKind {
  kSwitch,    // no value
  kValue,     // one value; the last one counts
  kRepeated,  // one value each time, all count
  kList,      // one value or several each time, all count
};

struct Flag {
  Command command;
  const char* name;  // without the dashes
  FlagKind kind = FlagKind::kValue;
};

struct CommandName {
  Command command;
  const char* name;
  const char* operand;      // what it takes beside flags, nullptr: nothing
  const char* advice = "";  // where that is missing
};

inline constexpr const char* kScenarioAdvice = "such as wordcount or primes; see `bulkhead list`";
inline constexpr std::array kCommands{
    CommandName{Command::kRun, "run", "SCENARIO", kScenarioAdvice},
    CommandName{Command::kCompare, "compare", "SCENARIO", kScenarioAdvice},
    CommandName{Command::kBench, "bench", "BENCH", "such as sched; see `bulkhead bench --help`"},
    CommandName{Command::kExplore, "explore", "PROGRAM", "such as bank; see `bulkhead list`"},
    CommandName{Command::kList, "list", nullptr},
    CommandName{Command::kDoctor, "doctor", nullptr}};

std::vector<Flag> flags_of(Command command);
std::vector<std::string> command_names();
const char* to_string(Command command);

// The models of this build, in the order of the ladder.
const std::vector<v1::Model>& available_models();

// A command line taken apart, nothing judged yet.
struct Words {
  Command command = Command::kRun;
  std::optional<std::string> scenario;
  std::map<std::string, std::vector<std::string>> flags;  // by name; a switch has no values
};

// Judges the words, reads the environment for what they leave open, fills in the defaults.
tl::expected<Options, Stop> resolve_options(const Words& words);

std::string top_help();
std::string help_of(Command command);

// One line for standard error.
template <class... Args>
[[nodiscard]] tl::unexpected<Stop> stop(ExitCode code, fmt::format_string<Args...> format,
                                        Args&&... args) {
  return tl::unexpected<Stop>(
      Stop{code, "bulkhead: " + fmt::format(format, std::forward<Args>(args)...) + "\n"});
}

}  // namespace bulkhead::coordinator
