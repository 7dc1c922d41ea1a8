// What surrounds the command: environment variables, terminals, the folder of its executable.
#pragma once

#include <optional>
#include <string>

namespace bulkhead::coordinator {

// Nothing for a variable that is unset or empty.
std::optional<std::string> environment(const std::string& name);

// The stock worker, beside /proc/self/exe.
std::string default_worker();

// On terminals only, and on none that is dumb or in a build farm (CI).
bool shows_progress();  // standard error
bool shows_color();     // standard output, without NO_COLOR

}  // namespace bulkhead::coordinator
