// What a message cost, from the times that either side of it noted: parts that follow one another
// from the first encoded byte to the decoded value.
#pragma once

#include <bulkhead/v1/control.pb.h>
#include <bulkhead/v1/report.pb.h>

#include <cstdint>
#include <map>
#include <optional>
#include <utility>

namespace bulkhead::coordinator {

class CrossingCosts {
 public:
  // What one side has noted, ours or a worker's word; as much as makes sense.
  void add(const v1::CrossingSamples& samples);

  // Means over those that both sides have noted, in an order that can be. Nothing: there are none.
  // `crossed`: how many there were; `processor_seconds`: that the run used in all.
  std::optional<v1::Cost> cost(double crossed, double processor_seconds) const;

 private:
  std::map<std::pair<std::uint32_t, std::uint64_t>, v1::CrossingSample> samples_;
};

// Seconds that one look at the clock takes here.
double measure_clock();

}  // namespace bulkhead::coordinator
