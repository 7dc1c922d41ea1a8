#include "crossing_costs.hpp"

#include <algorithm>
#include <array>
#include <bulkhead/base/clock.hpp>
#include <initializer_list>

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kMostSamples = 1u << 17;  // a run's; more are not believed

// In ns.
struct Parts {
  double encode = 0;
  double copy = 0;
  double system_call = 0;
  double wake_up = 0;
  double queueing = 0;
  double decode = 0;
  double whole = 0;
};

double between(std::uint64_t from, std::uint64_t to) {
  return to > from ? static_cast<double>(to - from) : 0;
}

bool in_order(const v1::CrossingSample& sample) {
  const std::array times{sample.encode_begin(), sample.encode_end(), sample.copied(),
                         sample.flush_begin(), sample.flush_end()};
  const std::array later{sample.flush_begin(), sample.got(), sample.taken(), sample.decoded()};
  const bool known = sample.encode_begin() > 0 && sample.flush_end() > 0 && sample.decoded() > 0;
  return known && std::is_sorted(times.begin(), times.end()) &&
         std::is_sorted(later.begin(), later.end());
}

// What the receiver gets while the sender is still in its call is there already: the call's part
// ends then.
Parts parts_of(const v1::CrossingSample& sample) {
  Parts parts;
  parts.encode = between(sample.encode_begin(), sample.encode_end());
  parts.copy = between(sample.encode_end(), sample.copied());
  parts.queueing = between(sample.copied(), sample.flush_begin());
  const bool slept = sample.woke() > sample.flush_begin() && sample.woke() <= sample.got();
  const std::uint64_t seen = slept ? sample.woke() : sample.got();
  const std::uint64_t sent = std::min(sample.flush_end(), seen);
  parts.system_call = between(sample.flush_begin(), sent);
  if (slept) {
    const std::uint64_t asleep = std::clamp(sample.asleep(), sent, sample.woke());
    parts.queueing += between(sent, asleep);
    parts.wake_up = between(asleep, sample.woke());
    parts.queueing += between(sample.woke(), sample.got());
  } else {
    parts.queueing += between(sent, sample.got());
  }
  parts.queueing += between(sample.got(), sample.taken());
  parts.decode = between(sample.taken(), sample.decoded());
  parts.whole = between(sample.encode_begin(), sample.decoded());
  return parts;
}

void take_over(std::uint64_t from, v1::CrossingSample& to,
               void (v1::CrossingSample::*set)(std::uint64_t)) {
  if (from > 0) (to.*set)(from);
}

}  // namespace

void CrossingCosts::add(const v1::CrossingSamples& samples) {
  for (const v1::CrossingSample& one : samples.samples()) {
    if (samples_.size() >= kMostSamples) return;
    using S = v1::CrossingSample;
    S& to = samples_[{one.lane(), one.number()}];
    if (one.batch() > 0) to.set_batch(one.batch());
    take_over(one.encode_begin(), to, &S::set_encode_begin);
    take_over(one.encode_end(), to, &S::set_encode_end);
    take_over(one.copied(), to, &S::set_copied);
    take_over(one.flush_begin(), to, &S::set_flush_begin);
    take_over(one.flush_end(), to, &S::set_flush_end);
    take_over(one.asleep(), to, &S::set_asleep);
    take_over(one.woke(), to, &S::set_woke);
    take_over(one.got(), to, &S::set_got);
    take_over(one.taken(), to, &S::set_taken);
    take_over(one.decoded(), to, &S::set_decoded);
  }
}

std::optional<v1::Cost> CrossingCosts::cost(double crossed, double processor_seconds) const {
  Parts sum;
  double count = 0;
  double calls = 0;  // a flush takes many along: each pays its share
  for (const auto& [key, sample] : samples_) {
    if (!in_order(sample)) continue;
    const Parts parts = parts_of(sample);
    ++count;
    sum.encode += parts.encode;
    sum.copy += parts.copy;
    sum.system_call += parts.system_call;
    sum.wake_up += parts.wake_up;
    sum.queueing += parts.queueing;
    sum.decode += parts.decode;
    sum.whole += parts.whole;
    calls += between(sample.flush_begin(), sample.flush_end()) / std::max(1u, sample.batch());
  }
  if (count == 0) return {};
  v1::Cost cost;
  const double clock = measure_clock();
  const auto mean = [&](double ns) { return std::max(0.0, ns * 1e-9 / count - clock); };
  cost.set_samples(count);
  cost.set_crossed(crossed);
  cost.set_encode_seconds(mean(sum.encode));
  cost.set_copy_seconds(mean(sum.copy));
  cost.set_system_call_seconds(mean(sum.system_call));
  cost.set_wake_up_seconds(mean(sum.wake_up));
  cost.set_queueing_seconds(mean(sum.queueing));
  cost.set_decode_seconds(mean(sum.decode));
  cost.set_whole_seconds(sum.whole * 1e-9 / count);
  cost.set_clock_seconds(clock);
  cost.set_rest_seconds(cost.whole_seconds() - cost.encode_seconds() - cost.copy_seconds() -
                        cost.system_call_seconds() - cost.wake_up_seconds() -
                        cost.queueing_seconds() - cost.decode_seconds());
  if (processor_seconds > 0) {
    const double work =
        cost.encode_seconds() + cost.copy_seconds() + cost.decode_seconds() + calls * 1e-9 / count;
    cost.set_processor_share(std::min(1.0, work * crossed / processor_seconds));
  }
  return cost;
}

double measure_clock() {
  constexpr int kLooks = 1000;
  const std::int64_t begin = base::monotonic_ns();
  std::int64_t last = begin;
  for (int i = 0; i < kLooks; ++i) last = base::monotonic_ns();
  return static_cast<double>(last - begin) * 1e-9 / kLooks;
}

}  // namespace bulkhead::coordinator
