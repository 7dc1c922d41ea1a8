// Rows of `bulkhead bench ipc`: one message between two parties, by everything that can carry it.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "bench/rows.hpp"

namespace bulkhead::bench {

struct Crossing {
  const char* name;                // of the row
  bool apart;                      // the two parties on a CPU each; or both on one
  std::vector<std::size_t> sizes;  // of the messages, in bytes
};

struct CrossingRow {
  const char* name;
  // Runs alone in its process, and may fork: before any thread is there.
  std::vector<Figure> (*run)(const Crossing& asked);
};

std::vector<std::size_t> crossing_sizes(bool all);

const std::vector<CrossingRow>& crossing_rows();

}  // namespace bulkhead::bench
