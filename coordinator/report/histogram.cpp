// Values are whole nanoseconds. Below 2^kSubBits each has a bucket of its own; above, each power of
// two is cut into 2^kSubBits buckets of equal width. A bucket answers with its middle, so it is
// wrong by at most half a width: 2^-(kSubBits + 1), 0.4 %. Buckets exist up to the largest value
// seen: a histogram of microseconds stays small.
#include "report/histogram.hpp"

#include <algorithm>
#include <bit>
#include <cmath>

namespace bulkhead::coordinator {
namespace {

constexpr unsigned kSubBits = 7;
constexpr std::uint64_t kSubBuckets = std::uint64_t{1} << kSubBits;
constexpr double kSecondsMax = 1e6;
constexpr double kNanosecond = 1e-9;
constexpr double kBeyond = 10;

std::size_t bucket_of(std::uint64_t nanoseconds) {
  if (nanoseconds < kSubBuckets) return nanoseconds;
  const unsigned shift = static_cast<unsigned>(std::bit_width(nanoseconds)) - 1 - kSubBits;
  return (shift + 1) * kSubBuckets + ((nanoseconds >> shift) - kSubBuckets);
}

double middle_of(std::size_t bucket) {
  if (bucket < kSubBuckets) return static_cast<double>(bucket) * kNanosecond;
  const std::size_t shift = bucket / kSubBuckets - 1;
  const std::uint64_t low = (kSubBuckets + bucket % kSubBuckets) << shift;
  const std::uint64_t width = std::uint64_t{1} << shift;
  return (static_cast<double>(low) + static_cast<double>(width - 1) / 2) * kNanosecond;
}

}  // namespace

void Histogram::record(double seconds) {
  if (!(seconds > 0)) seconds = 0;  // not a number counts as 0 too
  seconds = std::min(seconds, kSecondsMax);
  const std::size_t bucket =
      bucket_of(static_cast<std::uint64_t>(std::llround(seconds / kNanosecond)));
  if (bucket >= buckets_.size()) buckets_.resize(bucket + 1);
  ++buckets_[bucket];
  min_ = count_ == 0 ? seconds : std::min(min_, seconds);
  max_ = std::max(max_, seconds);
  ++count_;
}

void Histogram::merge(const Histogram& other) {
  if (other.count_ == 0) return;
  if (other.buckets_.size() > buckets_.size()) buckets_.resize(other.buckets_.size());
  // By index up to a size taken before: `other` may be this histogram.
  const std::size_t size = other.buckets_.size();
  for (std::size_t i = 0; i < size; ++i) buckets_[i] += other.buckets_[i];
  min_ = count_ == 0 ? other.min_ : std::min(min_, other.min_);
  max_ = std::max(max_, other.max_);
  count_ += other.count_;
}

double Histogram::percentile(double fraction) const {
  if (count_ == 0) return 0;
  if (!(fraction > 0)) return min_;
  if (fraction >= 1) return max_;
  const double wanted = std::ceil(fraction * static_cast<double>(count_));
  const auto rank = std::clamp<std::uint64_t>(static_cast<std::uint64_t>(wanted), 1, count_);
  std::uint64_t seen = 0;
  for (std::size_t i = 0; i < buckets_.size(); ++i) {
    seen += buckets_[i];
    if (seen >= rank) return std::clamp(middle_of(i), min_, max_);
  }
  return max_;
}

bool Histogram::supports(double fraction) const {
  // A little slack: 10,000 × (1 - 0.999) is not quite 10.
  return static_cast<double>(count_) * (1 - fraction) >= kBeyond - 1e-6;
}

}  // namespace bulkhead::coordinator
