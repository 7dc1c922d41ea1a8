#include "cli/output_paths.hpp"

#include <sys/stat.h>
#include <unistd.h>

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

tl::expected<void, Stop> judge_logs(const std::string& where, const std::string& path) {
  if (path.empty()) return stop(kExitUsage, "{}: the path is empty; name a directory", where);
  std::string writes = path;  // where an entry will be made
  struct stat found {};
  if (stat(path.c_str(), &found) == 0) {
    if (!S_ISDIR(found.st_mode)) {
      return stop(kExitEnvironment, "{}: {} is no directory; name one", where, in_quotes(path));
    }
  } else {
    if (errno != ENOENT) {
      return stop(kExitEnvironment, "{}: {}: {}; name a directory", where, in_quotes(path),
                  std::strerror(errno));
    }
    const std::size_t slash = path.rfind('/');
    writes = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    if (stat(writes.c_str(), &found) != 0) {
      return stop(kExitEnvironment,
                  "{}: {}: {}; it is made where its parent is there: make that, or name another",
                  where, in_quotes(path), std::strerror(errno));
    }
  }
  if (access(writes.c_str(), W_OK | X_OK) != 0) {
    return stop(kExitEnvironment, "{}: {}: {}; name a directory that you can write to", where,
                in_quotes(path), std::strerror(errno));
  }
  return {};
}

tl::expected<void, Stop> make_logs(const std::string& path) {
  if (path.empty() || mkdir(path.c_str(), 0777) == 0 || errno == EEXIST) return {};
  return stop(kExitEnvironment,
              "--logs: {} cannot be made: {}; name a directory that you can write to",
              in_quotes(path), std::strerror(errno));
}

}  // namespace bulkhead::coordinator
