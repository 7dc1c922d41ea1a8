#include "supervise/stall_watch.hpp"

#include <utility>

namespace bulkhead::coordinator {

void StallWatch::begin_round(base::TimePoint now) {
  if (last_round_) {
    const base::Duration gap = now - *last_round_;
    if (gap > 2 * period()) {
      for (auto& [key, slots] : seen_) {
        for (auto& [slot, seen] : slots) seen.since += gap - period();
      }
    }
  }
  last_round_ = now;
}

std::optional<std::uint64_t> StallWatch::look(WorkerKey key,
                                              const std::vector<wire::SlotProgress>& slots,
                                              base::TimePoint now) {
  std::map<std::size_t, Seen> before = std::exchange(seen_[key], {});
  std::map<std::size_t, Seen>& after = seen_[key];
  std::optional<std::uint64_t> hung;
  for (const wire::SlotProgress& progress : slots) {
    Seen seen{progress, now};
    const auto found = before.find(progress.slot);
    if (found != before.end() && found->second.progress.job == progress.job &&
        found->second.progress.checkpoints == progress.checkpoints) {
      seen.since = found->second.since;
      if (now - seen.since >= stall_ && !hung) hung = progress.job;
    }
    after[progress.slot] = seen;
  }
  return hung;
}

}  // namespace bulkhead::coordinator
