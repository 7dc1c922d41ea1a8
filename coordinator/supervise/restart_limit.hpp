// How often the workers of a run may be restarted: --restarts N/PERIOD.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <cstdint>

namespace bulkhead::coordinator {

// At most so many restarts, of all workers of a run together, within any such period. After
// Erlang/OTP's restart intensity.
struct RestartLimit {
  std::uint32_t most = 0;
  base::Duration period{0};  // above 0
};

}  // namespace bulkhead::coordinator
