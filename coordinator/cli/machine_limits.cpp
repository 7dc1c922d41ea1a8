#include "cli/machine_limits.hpp"

#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>

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

std::uint32_t usable_cores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    return static_cast<std::uint32_t>(std::max(1, CPU_COUNT(&set)));
  // More cores than the set has bits.
  return static_cast<std::uint32_t>(std::max(1L, sysconf(_SC_NPROCESSORS_ONLN)));
}

std::uint32_t max_workers() {
  const std::uint64_t limit = descriptor_limit();
  const std::uint64_t spare = limit > kReservedDescriptors ? limit - kReservedDescriptors : 0;
  return static_cast<std::uint32_t>(
      std::clamp<std::uint64_t>(spare / kDescriptorsPerWorker, 1, kWorkersMaximum));
}

}  // namespace bulkhead::coordinator
