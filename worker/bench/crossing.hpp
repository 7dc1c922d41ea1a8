// Rows of `bulkhead bench ipc`: one message between two parties, by everything that can carry it.
#pragma once

#include <string>
#include <vector>

#include "bench/rows.hpp"

namespace bulkhead::bench {

struct CrossingRow {
  const char* name;
  // Runs alone in its process, and may fork: before any thread is there. The two parties share a
  // CPU, or are `apart` on one each.
  std::vector<Figure> (*run)(const char* name, bool apart);
};

const std::vector<CrossingRow>& crossing_rows();

}  // namespace bulkhead::bench
