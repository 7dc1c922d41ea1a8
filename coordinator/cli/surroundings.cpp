#include "cli/surroundings.hpp"

#include <unistd.h>

#include <climits>
#include <cstdlib>

namespace bulkhead::coordinator {
namespace {

bool is_plain() { return environment("CI") || environment("TERM").value_or("") == "dumb"; }

}  // namespace

std::optional<std::string> environment(const std::string& name) {
  const char* const value = std::getenv(name.c_str());
  if (value == nullptr || *value == '\0') return std::nullopt;
  return value;
}

std::string default_worker() {
  char path[PATH_MAX];
  const ssize_t size = readlink("/proc/self/exe", path, sizeof path);
  if (size <= 0) return "./bulkhead-worker";
  const std::string self(path, static_cast<std::size_t>(size));
  return self.substr(0, self.rfind('/') + 1) + "bulkhead-worker";
}

bool shows_progress() { return !is_plain() && isatty(STDERR_FILENO) == 1; }

bool shows_color() { return !is_plain() && !environment("NO_COLOR") && isatty(STDOUT_FILENO) == 1; }

}  // namespace bulkhead::coordinator
