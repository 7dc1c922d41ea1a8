// CPU work of a stated length, the same everywhere: a number of iterations, not a time.
//
// The time that an iteration takes is measured once, alone, before the runs (calibrate()), and
// every worker is told the figure. So all models compute the same, whatever else slows them down.
#pragma once

#include <cstdint>

namespace bulkhead::program {

// So many iterations, each of which needs the one before; what comes out depends on all of them.
// Passes a scheduling point (sched::checkpoint()) now and then.
std::uint64_t compute(std::uint64_t seed, std::uint64_t iterations);

// Iterations of compute() that this thread does in a second of processor time: the median of some
// short measurements, a few tens of milliseconds in all.
double calibrate();

}  // namespace bulkhead::program
