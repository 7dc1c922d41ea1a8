// Judges the places that a run will write to, before it starts: a long run must not end in a path
// that could never be written.
#pragma once

#include <string>

#include "cli/options.hpp"

namespace bulkhead::coordinator {

// --json: "-", or a file in a directory that exists.
tl::expected<void, Stop> judge_json(const std::string& path);

// --logs: a directory that can be written to, or could be made. `where` names the flag or variable.
tl::expected<void, Stop> judge_logs(const std::string& where, const std::string& path);
// Makes it where it is not there; "" is none. kExitEnvironment when that fails.
tl::expected<void, Stop> make_logs(const std::string& path);

}  // namespace bulkhead::coordinator
