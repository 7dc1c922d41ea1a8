// The coordinator's program: `bulkhead`.
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>

#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string_view>
#include <utility>

#include "cli/options.hpp"
#include "compare.hpp"
#include "evidence/symbols.hpp"
#include "host/local_host.hpp"

namespace {

// Events of a run, on standard error: BULKHEAD_LOG=debug|info|warn|off, warn by default.
void start_logging() {
  auto logger = spdlog::stderr_logger_st("bulkhead");
  logger->set_pattern("bulkhead [%H:%M:%S.%e] %l: %v");
  const char* const level = std::getenv("BULKHEAD_LOG");
  logger->set_level(level == nullptr ? spdlog::level::warn : spdlog::level::from_str(level));
  spdlog::set_default_logger(std::move(logger));
}

}  // namespace

int main(int argc, char** argv) {
  namespace coordinator = bulkhead::coordinator;
  if (argc > 1 && std::string_view(argv[1]) == "__launcher") {
    return coordinator::launcher_main(argc, argv);
  }
  if (argc > 1 && std::string_view(argv[1]) == "__symbols") {
    return coordinator::symbols_main(argc, argv);
  }
  try {
    start_logging();
    const auto options = coordinator::parse_command_line(argc, argv);
    if (options) return coordinator::execute(*options);
    if (options.error().code == coordinator::kExitDone) {
      return coordinator::say(options.error().text);
    }
    std::fputs(options.error().text.c_str(), stderr);
    return options.error().code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bulkhead: a fault of bulkhead itself, please report it: %s\n",
                 error.what());
    return coordinator::kExitInternal;
  }
}
