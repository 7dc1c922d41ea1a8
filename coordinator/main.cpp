// The coordinator's program: `bulkhead`.
#include <string_view>

#include "host/local_host.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "__launcher")
    return bulkhead::coordinator::launcher_main(argc, argv);
  return 0;
}
