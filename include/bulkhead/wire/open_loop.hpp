// When jobs are to start in an open loop (--rate), whatever the workers do. Both sides compute it
// from the rate and the instant of job 0, so no job's time has to cross.
#pragma once

#include <algorithm>
#include <bulkhead/base/clock.hpp>
#include <cstdint>

namespace bulkhead::wire {

class OpenLoop {
 public:
  // `rate_per_second` above 0; `origin`: when job 0 is due.
  OpenLoop(double rate_per_second, base::TimePoint origin)
      : rate_per_second_(rate_per_second), origin_(origin) {}

  // The intended start of a job. An attempt more does not move it.
  base::TimePoint due(std::uint64_t job) const {
    constexpr double kMostSeconds = 1e9;  // whatever a number from outside says
    const std::chrono::duration<double> after(
        std::min(static_cast<double>(job) / rate_per_second_, kMostSeconds));
    return origin_ + std::chrono::duration_cast<base::Duration>(after);
  }
  base::TimePoint origin() const { return origin_; }

 private:
  double rate_per_second_;
  base::TimePoint origin_;
};

}  // namespace bulkhead::wire
