// Tells a hung worker from a busy one: a job that stays in its slot of the crash page for `stall`
// without passing a scheduling point has hung. One look costs a copy of the page and no message.
// A plain state machine: what the pages say and a clock in, the hung job out.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <vector>

#include "host/host.hpp"

namespace bulkhead::coordinator {

class StallWatch {
 public:
  explicit StallWatch(base::Duration stall) : stall_(stall) {}

  // How often to look: a hang is known at most one such period late.
  base::Duration period() const { return std::max<base::Duration>(stall_ / 4, kLeastPeriod); }
  // Call before the looks of one round. A round that comes much later than the one before says that
  // the coordinator itself was paused: nobody's clock ran meanwhile.
  void begin_round(base::TimePoint now);
  // The job that has hung in this worker, if one has.
  std::optional<std::uint64_t> look(WorkerKey key, const std::vector<wire::SlotProgress>& slots,
                                    base::TimePoint now);
  void forget(WorkerKey key) { seen_.erase(key); }

 private:
  static constexpr base::Duration kLeastPeriod = std::chrono::milliseconds(1);
  struct Seen {
    wire::SlotProgress progress;
    base::TimePoint since;
  };

  const base::Duration stall_;
  std::optional<base::TimePoint> last_round_;
  std::map<WorkerKey, std::map<std::size_t, Seen>> seen_;
};

}  // namespace bulkhead::coordinator
