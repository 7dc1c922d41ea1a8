#include "cli/output_paths.hpp"

#include <sys/stat.h>

#include <cerrno>
#include <cstring>

#include "cli/flags.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {

tl::expected<void, Stop> judge_json(const std::string& path) {
  if (path == "-") return {};
  if (path.empty())
    return stop(kExitUsage, "--json: the path is empty; name a file, or - for standard output");
  struct stat found {};
  if (stat(path.c_str(), &found) == 0 && S_ISDIR(found.st_mode)) {
    return stop(kExitEnvironment, "--json: {} is a directory; name a file in it", in_quotes(path));
  }
  const std::size_t slash = path.rfind('/');
  const std::string parent = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  if (stat(parent.c_str(), &found) != 0) {
    return stop(kExitEnvironment, "--json: {}: {}; name a file in a directory that exists",
                in_quotes(path), std::strerror(errno));
  }
  return {};
}

}  // namespace bulkhead::coordinator
