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

std::uint32_t max_workers() {
  const std::uint64_t limit = descriptor_limit();
  const std::uint64_t spare = limit > kReservedDescriptors ? limit - kReservedDescriptors : 0;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(spare / kDescriptorsPerWorker, 1, kWorkersMaximum));
}

}  // namespace bulkhead::coordinator
