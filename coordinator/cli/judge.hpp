// Judges the words of a command line one by one, and keeps the plan of what they came to. What
// several commands share; see plan.cpp for how one is resolved.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/flags.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {

// A report holds it as a double.
inline constexpr std::uint64_t kSeedMaximum = std::uint64_t{1} << 53;

using Done = tl::expected<void, Stop>;

class Judge {
 public:
  // Borrows the words.
  explicit Judge(const Words& words) : words_(words) { options_.command = words.command; }

 protected:
  // A value with the name that its messages start with: the flag or the variable.
  struct Given {
    std::string where;
    std::string text;
    const char* source;
  };

  const std::vector<std::string>* all(const std::string& flag) const;  // nullptr: not there
  std::optional<Given> given(const std::string& flag) const;           // flag, or environment

  void plan(const std::string& name, const std::string& value, const char* source);
  void plan(const std::string& name, const std::string& value, const std::optional<Given>& from) {
    plan(name, value, from ? from->source : "default");
  }

  template <class T>
  Done count(const std::string& flag, T fallback, std::uint64_t minimum, std::uint64_t maximum,
             T& out) {
    const auto from = given(flag);
    out = fallback;
    if (from) {
      const auto value = parse_count(from->text, minimum, maximum);
      if (!value) return stop(kExitUsage, "{}: {}", from->where, value.error().text);
      out = static_cast<T>(*value);
    }
    plan(flag, std::to_string(out), from);
    return {};
  }

  Done settings(const std::string& flag, std::vector<std::pair<std::string, std::string>>& out);
  Done program_input();  // --set and --input
  Done worker_path();    // --worker
  Done transports();  // --transport and --transports, --transfer and --transfers, --route, --cost
  Done json();        // --json

  const Words& words_;
  Options options_;

 private:
  Done transfers();
  Done route();
  Done cost();
};

// What --transport takes.
std::vector<std::string> transport_names();

// Command::kExplore; for resolve_options().
tl::expected<Options, Stop> resolve_explore(const Words& words);

}  // namespace bulkhead::coordinator
