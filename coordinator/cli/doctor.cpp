#include "cli/doctor.hpp"
namespace bulkhead::coordinator {
const std::vector<std::string>& capability_names() {
  static const std::vector<std::string> kNames{"kernel",         "pidfd",         "subreaper",
                                               "memfd-seals",    "close-range",   "guard-madvise",
                                               "proc",           "memory-cgroup", "user-namespaces",
                                               "net-namespaces", "perf",          "core-dumps",
                                               "descriptors",    "disk"};
  return kNames;
}
}  // namespace bulkhead::coordinator
