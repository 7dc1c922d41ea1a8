#include "cli/machine_limits.hpp"

#include <sys/resource.h>

#include <algorithm>

#include "cli/options.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::uint32_t kWorkersMaximum = 1024;

}  // namespace

std::uint64_t descriptor_limit() {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 1024;
  if (limit.rlim_cur < limit.rlim_max) {
    const rlimit raised{limit.rlim_max, limit.rlim_max};
    if (setrlimit(RLIMIT_NOFILE, &raised) == 0) limit = raised;
  }
  return limit.rlim_cur;
}

std::uint64_t descriptors_per_worker(const std::vector<transport::Kind>& transports) {
  std::uint64_t most = 0;
  for (const transport::Kind kind : transports) {
    const bool zeromq = kind == transport::Kind::kZmqIpc;  // counted: 19; of shm 9, of unix 6
    most = std::max<std::uint64_t>(most, zeromq ? 20 : 10);
  }
  return most;
}

std::uint32_t max_workers(const std::vector<transport::Kind>& transports) {
  const std::uint64_t limit = descriptor_limit();
  const std::uint64_t spare = limit > kReservedDescriptors ? limit - kReservedDescriptors : 0;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(spare / descriptors_per_worker(transports), 1, kWorkersMaximum));
}

}  // namespace bulkhead::coordinator
