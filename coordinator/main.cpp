// The coordinator's program: `bulkhead`.
#include <cstdio>
#include <exception>
#include <string_view>

#include "cli/options.hpp"
#include "compare.hpp"
#include "host/local_host.hpp"

int main(int argc, char** argv) {
  namespace coordinator = bulkhead::coordinator;
  if (argc > 1 && std::string_view(argv[1]) == "__launcher") {
    return coordinator::launcher_main(argc, argv);
  }
  try {
    const auto options = coordinator::parse_command_line(argc, argv);
    if (options) return coordinator::execute(*options);
    std::fputs(options.error().text.c_str(), options.error().code == 0 ? stdout : stderr);
    return options.error().code;
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bulkhead: a fault of bulkhead itself, please report it: %s\n",
                 error.what());
    return coordinator::kExitInternal;
  }
}
