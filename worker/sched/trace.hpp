// Where what happened is kept: a ring of records for each processor, the newest of which overwrite
// the oldest.
//
// A ring has one writer, which waits for nobody; readers copy what is there meanwhile. The writer
// fills a slot and then counts it in `written_`. A reader reads the count, copies, and reads the
// count again: what may have been overwritten in between it drops. Memory orders: each word of a
// record is stored with release, so that whoever sees a word of a newer record (acquire) then also
// sees the count that went before it.
#pragma once

#include <array>
#include <atomic>
#include <bulkhead/sched/lock.hpp>
#include <bulkhead/sched/trace.hpp>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "sched/time_stamp.hpp"

namespace bulkhead::sched {

struct TraceRecord {
  std::uint64_t stamp = 0;
  std::uint64_t task = 0;
  std::uint64_t detail = 0;  // by, object, or the victim and in the upper half the count
  const char* file = nullptr;
  TraceKind kind = TraceKind::kGo;
  ParkReason reason = ParkReason::kNone;
  std::uint16_t line = 0;
  std::uint32_t number = 0;
};

class TraceRing {
 public:
  // So many records, a power of two.
  explicit TraceRing(std::size_t records) : mask_(records - 1), slots_(new Slot[records]) {}

  // The one writer.
  void add(const TraceRecord& record) {
    const std::uint64_t at = written_.load(std::memory_order_relaxed);
    Slot& slot = slots_[at & mask_];
    slot[0].store(record.stamp, std::memory_order_release);
    slot[1].store(record.task, std::memory_order_release);
    slot[2].store(record.detail, std::memory_order_release);
    slot[3].store(reinterpret_cast<std::uintptr_t>(record.file), std::memory_order_release);
    slot[4].store(static_cast<std::uint64_t>(record.kind) |
                      static_cast<std::uint64_t>(record.reason) << 8 |
                      std::uint64_t{record.line} << 16 | std::uint64_t{record.number} << 32,
                  std::memory_order_release);
    written_.store(at + 1, std::memory_order_release);
    latest_ = record.stamp;
  }

  // The writer's, too: the stamp of the last one.
  std::uint64_t latest() const { return latest_; }

  // From any thread: appends those that there are, the oldest first, and answers how many have been
  // overwritten.
  std::uint64_t copy_to(std::vector<TraceRecord>& records) const;

 private:
  using Slot = std::array<std::atomic<std::uint64_t>, 5>;

  const std::size_t mask_;
  const std::unique_ptr<Slot[]> slots_;
  std::atomic<std::uint64_t> written_{0};  // ever
  std::uint64_t latest_ = 0;
};

class Tracer {
 public:
  // So many events of each processor, at least.
  Tracer(std::size_t processors, std::size_t events);

  TraceRing& ring(std::size_t processor) { return *rings_[processor]; }
  // On a thread that runs none of the processors; stamps it.
  void add_outside(TraceRecord record);
  TraceSnapshot collect();  // from any thread, at any time

 private:
  std::vector<std::unique_ptr<TraceRing>> rings_;  // the last: of all other threads
  Lock outside_lock_;
  // The same instant on both clocks.
  const std::uint64_t first_stamp_ = time_stamp();
  const std::int64_t first_ns_ = base::monotonic_ns();
};

}  // namespace bulkhead::sched
