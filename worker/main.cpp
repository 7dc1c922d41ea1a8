// The stock worker: the built-in programs, and the rows of `bulkhead bench`.
#include <bulkhead/worker/worker.hpp>
#include <string_view>

#include "bench/bench.hpp"

int main(int argc, char** argv) {
  if (argc > 1 && std::string_view(argv[1]) == "--bench") {
    return bulkhead::bench::bench_main(argc, argv);
  }
  return bulkhead::worker::worker_main(argc, argv);
}
