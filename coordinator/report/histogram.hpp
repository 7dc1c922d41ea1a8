// Log-linear histogram of durations: relative error below 1 %, merged by addition.
#pragma once

#include <array>
#include <bulkhead/base/clock.hpp>
#include <cstdint>
#include <vector>

namespace bulkhead::coordinator {

class Histogram {
 public:
  void record(double seconds);  // negative counts as 0; above 10^6 s as that
  void merge(const Histogram& other);
  double percentile(double fraction) const;  // 0..1; 0 when empty; exact at 0 and 1
  // At least 10 values lie beyond that percentile. With fewer it is one of the largest values by
  // chance: the p999 of 400 is their maximum.
  bool supports(double fraction) const;
  double max() const { return max_; }
  std::uint64_t count() const { return count_; }

 private:
  std::vector<std::uint64_t> buckets_;
  std::uint64_t count_ = 0;
  double max_ = 0;
  double min_ = 0;
};

}  // namespace bulkhead::coordinator
