// What this machine can and cannot do. The one probe: `bulkhead doctor` prints it, tests ask it.
#pragma once

#include <string>
#include <vector>

namespace bulkhead::coordinator {

struct Capability {
  std::string name;  // stable: kernel, pidfd, subreaper, memfd-seals, close-range, guard-madvise,
                     // proc, memory-cgroup, user-namespaces, net-namespaces, perf, core-dumps,
                     // descriptors, disk
  bool present = false;
  bool needed = false;  // bulkhead does not run without it
  std::string reason;   // what was tried and what came of it
  std::string remedy;   // when absent
};

// The names that probe_machine() gives, in its order.
const std::vector<std::string>& capability_names();

// Really tries each thing, in a child where trying could hurt; leaves nothing behind.
std::vector<Capability> probe_machine();
// Whether guard pages can be marks inside a mapping instead of mappings of their own.
bool has_madvise_guards();
std::string render_doctor(const std::vector<Capability>& capabilities, bool json);

}  // namespace bulkhead::coordinator
