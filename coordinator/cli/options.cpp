// Takes the command line apart. CLI11 is slow to compile and its messages and exit codes are not
// ours: it is included here alone, is given words only, and every message is written by us.
#include "cli/options.hpp"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "cli/flags.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr int kListMaximum = 1 << 20;

Stop print(std::string text) { return Stop{kExitDone, std::move(text)}; }

std::string version_line() { return fmt::format("bulkhead {}\n", version()); }

std::vector<std::string> flag_names(Command command) {
  std::vector<std::string> names;
  for (const Flag& flag : flags_of(command)) names.push_back(fmt::format("--{}", flag.name));
  names.emplace_back("--help");
  names.emplace_back("--version");
  return names;
}

// "--name=value" becomes two words: CLI11 would take the next word as the value of "--name=".
// Words after "--" stay as they are.
std::vector<std::string> separate_values(const std::vector<std::string>& arguments) {
  std::vector<std::string> words;
  bool flags = true;
  for (const std::string& argument : arguments) {
    flags = flags && argument != "--";
    const std::size_t equals = argument.find('=');
    if (flags && argument.rfind("--", 0) == 0 && equals != std::string::npos) {
      words.push_back(argument.substr(0, equals));
      words.push_back(argument.substr(equals + 1));
    } else {
      words.push_back(argument);
    }
  }
  return words;
}

// What CLI11 could not place: the first flag among it, or else the first word.
Stop refuse_extras(const Words& words, const std::vector<std::string>& extras) {
  const char* const command = to_string(words.command);
  for (const std::string& extra : extras) {
    if (extra.size() < 2 || extra.front() != '-') continue;
    const std::string near = nearest(extra, flag_names(words.command));
    if (near.empty()) {
      return stop(kExitUsage, "unknown flag {}; see `bulkhead {} --help`", in_quotes(extra),
                  command)
          .value();
    }
    return stop(kExitUsage, "unknown flag {}; did you mean '{}'? see `bulkhead {} --help`",
                in_quotes(extra), near, command)
        .value();
  }
  if (!words.scenario) {
    return stop(kExitUsage, "unexpected {}; `bulkhead {}` takes flags only",
                in_quotes(extras.front()), command)
        .value();
  }
  if (words.command == Command::kBench) {
    return stop(kExitUsage, "unexpected {} after the bench {}; rows go after --only",
                in_quotes(extras.front()), in_quotes(*words.scenario))
        .value();
  }
  if (words.command == Command::kExplore) {
    return stop(kExitUsage, "unexpected {} after the program {}; settings go after --set",
                in_quotes(extras.front()), in_quotes(*words.scenario))
        .value();
  }
  return stop(kExitUsage, "unexpected {} after the scenario {}; inputs go after --input",
              in_quotes(extras.front()), in_quotes(*words.scenario))
      .value();
}

tl::expected<Words, Stop> parse_words(Command command, std::vector<std::string> arguments) {
  const char* const name = to_string(command);
  CLI::App app;
  app.set_help_flag();
  app.allow_extras();
  const CLI::Option* const help = app.add_flag("-h,--help");
  const CLI::Option* const version_flag = app.add_flag("--version");
  // Options without a variable keep the words as given: no conversion, no bracket syntax.
  std::vector<std::pair<Flag, const CLI::Option*>> options;
  for (const Flag& flag : flags_of(command)) {
    const std::string flag_name = fmt::format("--{}", flag.name);
    CLI::Option* const option =
        flag.kind == FlagKind::kSwitch ? app.add_flag(flag_name) : app.add_option(flag_name);
    option->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    if (flag.kind == FlagKind::kList) option->expected(1, kListMaximum)->allow_extra_args(false);
    options.emplace_back(flag, option);
  }
  const CLI::Option* scenario = nullptr;
  const auto known = std::find_if(kCommands.begin(), kCommands.end(),
                                  [&](const CommandName& c) { return c.command == command; });
  if (known->operand != nullptr) {
    // Required, so that a list before it leaves one word for it; its absence is told by us.
    scenario = app.add_option("scenario")->required();
  }

  std::reverse(arguments.begin(), arguments.end());
  bool scenario_missing = false;
  try {
    app.parse(std::move(arguments));
  } catch (const CLI::RequiredError&) {
    scenario_missing = true;
  } catch (const CLI::ArgumentMismatch& error) {
    // The one mismatch that words alone can have: a flag at the end, without its value.
    const std::string text = error.what();
    const std::string flag = text.substr(0, text.find(':'));
    return stop(kExitUsage, "{} needs a value; see `bulkhead {} --help`", flag, name);
  } catch (const CLI::Error& error) {
    return stop(kExitUsage, "{}; see `bulkhead {} --help`", in_quotes(error.what()), name);
  }

  if (help->count() > 0) return tl::unexpected<Stop>(print(help_of(command)));
  if (version_flag->count() > 0) return tl::unexpected<Stop>(print(version_line()));
  Words words;
  words.command = command;
  if (scenario != nullptr && scenario->count() > 0) words.scenario = scenario->results().front();
  for (const auto& [flag, option] : options) {
    if (option->count() == 0) continue;
    auto& values = words.flags[flag.name];
    if (flag.kind == FlagKind::kSwitch) continue;
    values = option->results();
    for (const std::string& value : values) {
      if (value.rfind("--", 0) != 0) continue;
      return stop(kExitUsage, "--{} needs a value, but {} came; see `bulkhead {} --help`",
                  flag.name, in_quotes(value), name);
    }
  }
  std::vector<std::string> extras = app.remaining();
  // CLI11 keeps the "--" that ends the flags.
  extras.erase(std::remove(extras.begin(), extras.end(), "--"), extras.end());
  if (!extras.empty()) return tl::unexpected<Stop>(refuse_extras(words, extras));
  if (scenario_missing) {
    if (words.flags.count("input") > 0 && command != Command::kExplore) {
      return stop(kExitUsage,
                  "{} needs a SCENARIO before --input, such as wordcount; see `bulkhead list`",
                  name);
    }
    return stop(kExitUsage, "{} needs a {}, {}", name, known->operand, known->advice);
  }
  return words;
}

}  // namespace

tl::expected<Options, Stop> parse_command_line(int argc, const char* const* argv) {
  std::vector<std::string> arguments;
  for (int i = 1; i < argc; ++i) arguments.emplace_back(argv[i]);
  if (arguments.empty()) {
    return stop(kExitUsage, "no command; commands: {}; see `bulkhead --help`",
                join(command_names()));
  }
  const std::string first = arguments.front();
  if (first == "--help" || first == "-h") return tl::unexpected<Stop>(print(top_help()));
  if (first == "--version") return tl::unexpected<Stop>(print(version_line()));
  const auto known = std::find_if(kCommands.begin(), kCommands.end(),
                                  [&](const CommandName& c) { return first == c.name; });
  if (known == kCommands.end()) {
    if (first.rfind('-', 0) == 0) {
      return stop(kExitUsage, "{} where a command is due; flags follow the command; commands: {}",
                  in_quotes(first), join(command_names()));
    }
    return stop(kExitUsage, "unknown command {}{}", in_quotes(first),
                suggestion(first, "commands", command_names()));
  }

  arguments.erase(arguments.begin());
  auto words = parse_words(known->command, separate_values(arguments));
  if (!words) return tl::unexpected<Stop>(words.error());
  auto options = resolve_options(*words);
  if (options) options->command_line.assign(argv, argv + argc);
  return options;
}

}  // namespace bulkhead::coordinator
