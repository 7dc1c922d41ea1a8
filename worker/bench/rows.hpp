// What a row is, and what rows share. Each does what programs of other systems under the same name
// do, which `tests/bench/beside_peers` runs beside it: the same work, counted in the same unit. So
// the sizes here are theirs, and are not to be tuned.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace bulkhead::bench {

struct Figure {
  std::string name;
  std::string params;  // but for the number of processors
  double value = 0;    // less is better
  std::string unit;
};

struct Row {
  const char* name;
  // Called once, as the main goroutine of a scheduler. May leave goroutines parked behind, and what
  // they use with them.
  std::vector<Figure> (*run)();
};

const std::vector<Row>& switching_rows();
const std::vector<Row>& channel_rows();
const std::vector<Row>& spawning_rows();
const std::vector<Row>& network_rows();
const std::vector<Row>& waiting_rows();

// How long the body took, in nanoseconds.
template <class Body>
double time_ns(Body&& body) {
  const std::int64_t start = base::monotonic_ns();
  body();
  return static_cast<double>(base::monotonic_ns() - start);
}

// The compiler must compute the value, and can't know that nobody reads it.
template <class T>
void keep(const T& value) {
  asm volatile("" : : "m"(value) : "memory");
}

}  // namespace bulkhead::bench
