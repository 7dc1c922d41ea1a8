// Where the two parties of a message run.
#pragma once

#include <array>
#include <functional>

#include "bench/asking.hpp"

namespace bulkhead::bench {

// The CPUs of the two: one for both, or one each. Aborts where there is no second one.
struct Place {
  explicit Place(bool apart);
  std::array<int, 2> cpus;
};

// The calling thread and those that it starts from now on.
void keep_to(int cpu);

void in_goroutine(unsigned processors, const std::function<void()>& body);
// The first in this process, the second in a child of it. No other thread may be there.
void in_two_processes(bool apart, const std::function<void()>& asks,
                      const std::function<void()>& answers);

// In memory that a child shares, and kept.
Board& shared_board();

}  // namespace bulkhead::bench
