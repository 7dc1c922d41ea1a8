// Judges the places that a run will write to, before it starts: a long run must not end in a path
// that could never be written.
#pragma once

#include <string>

#include "cli/options.hpp"

namespace bulkhead::coordinator {

// --json: "-", or a file in a directory that exists.
tl::expected<void, Stop> judge_json(const std::string& path);

}  // namespace bulkhead::coordinator
