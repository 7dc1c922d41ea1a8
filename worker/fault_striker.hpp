// Does what a planned fault says: the harm itself, and before it the marks on the crash page by
// which the coordinator counts it.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <atomic>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <cstdint>
#include <optional>

namespace bulkhead::worker {

// Thread-safe after construction.
class FaultStriker {
 public:
  FaultStriker(const v1::Boot& boot, wire::CrashPage* page)
      : page_(page), memory_limit_(boot.memory_limit_bytes()) {}

  // Whoever suffers next, whichever job or task it is, suffers this fault, too.
  void arm(const v1::PlannedFault& fault);
  bool is_armed() const { return armed_.load(std::memory_order_relaxed); }
  // What is planned for the caller (or nullptr), then what was armed. It may throw, and may not
  // return.
  void suffer(const v1::PlannedFault* fault);

 private:
  void fire(const v1::PlannedFault& fault);
  void note_fired(const v1::PlannedFault& fault);
  void exhaust_memory() const;

  wire::CrashPage* const page_;
  const std::uint64_t memory_limit_;  // what the fault `oom` goes beyond; 0: none
  std::atomic<bool> armed_{false};    // relaxed hint; armed_fault_ decides under its lock
  base::Mutex mutex_;
  std::optional<v1::PlannedFault> armed_fault_ BULKHEAD_GUARDED_BY(mutex_);
};

}  // namespace bulkhead::worker
