// One side's times of the messages that cross, of every so-manieth one. Sampling by number lets
// both sides look at the same ones without a word on the wire; a log that is full looks at half as
// many from then on, and forgets the others.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <bulkhead/base/clock.hpp>
#include <cstddef>
#include <cstdint>
#include <map>
#include <utility>

namespace bulkhead::wire {

// What a log begins with: one of 64 costs less than 2 ns a message.
inline constexpr std::uint32_t kCostStride = 64;

// The lanes of jobs.
inline constexpr std::uint32_t kToWorker = 0;
inline constexpr std::uint32_t kFromWorker = 1;

// Not thread-safe.
class CrossingLog {
 public:
  // `stride`: a power of two; 0: nothing is looked at.
  explicit CrossingLog(std::uint32_t stride = 0) : stride_(stride) {}

  bool looks_at(std::uint64_t number) const {
    return stride_ != 0 && (number & (stride_ - 1)) == 0;
  }
  // The sample of a message that it looks at, made where there is none. Valid until the next call.
  v1::CrossingSample& at(std::uint32_t lane, std::uint64_t number) {
    if (samples_.size() >= kMost) thin();
    v1::CrossingSample& sample = samples_[{lane, number}];
    sample.set_lane(lane);
    sample.set_number(number);
    return sample;
  }
  // nullptr: there is none, or no more.
  v1::CrossingSample* find(std::uint32_t lane, std::uint64_t number) {
    const auto found = samples_.find({lane, number});
    return found == samples_.end() ? nullptr : &found->second;
  }
  v1::CrossingSamples take() {
    v1::CrossingSamples all;
    for (auto& [key, sample] : samples_) *all.add_samples() = std::move(sample);
    samples_.clear();
    return all;
  }

  static std::uint64_t now() { return static_cast<std::uint64_t>(base::monotonic_ns()); }

 private:
  static constexpr std::size_t kMost = 2048;

  void thin() {
    stride_ *= 2;
    std::erase_if(samples_, [&](const auto& entry) { return !looks_at(entry.first.second); });
  }

  std::uint64_t stride_;
  std::map<std::pair<std::uint32_t, std::uint64_t>, v1::CrossingSample> samples_;
};

// Whose receiver waits now and then: when it began to, the last time, and when it went on.
struct ReceiverTimes {
  std::uint64_t asleep = 0;
  std::uint64_t woke = 0;

  void fill(v1::CrossingSample& sample, std::uint64_t got) const {
    sample.set_asleep(asleep);
    sample.set_woke(woke);
    sample.set_got(got);
  }
};

}  // namespace bulkhead::wire
