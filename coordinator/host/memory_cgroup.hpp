// A memory cgroup for each worker, where this process may make some: there the kernel holds the
// limit, to the page and at once. Elsewhere whoever looks at the resident size now and then does.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

namespace bulkhead::coordinator {

// This process's own memory cgroup: version 1 has a hierarchy for memory, version 2 has one for
// all. `directory` is empty when there is none.
struct MemoryCgroup {
  std::string directory;
  const char* limit_file = "";  // bytes
  const char* swap_file = "";   // of what goes to swap, or (version 1) of both together
  bool swap_alone = false;
  const char* events_file = "";  // has a line "oom_kill N"
};
MemoryCgroup own_memory_cgroup();

// The groups of one run. What a killed coordinator left behind is removed by the next one that
// makes groups in the same place. Single-threaded.
class WorkerGroups {
 public:
  // Null where no group with a limit can be made here: no cgroup, no permission, or version 2
  // without the memory controller for children.
  static std::unique_ptr<WorkerGroups> open(std::uint64_t limit_bytes);
  ~WorkerGroups();
  WorkerGroups(const WorkerGroups&) = delete;
  WorkerGroups& operator=(const WorkerGroups&) = delete;

  // Moves a process into a group of its own, `name`. What it took before stays where it was. False
  // when it is gone, or the group can't be made.
  bool add(const std::string& name, pid_t pid);
  // Whether the kernel has killed somebody in that group at its limit.
  bool struck(const std::string& name) const;
  // Once its processes have ended.
  void remove(const std::string& name);

 private:
  WorkerGroups(MemoryCgroup own, std::uint64_t limit_bytes);
  std::string path(const std::string& name) const { return root_ + "/" + name; }
  bool make(const std::string& directory) const;
  bool limit(const std::string& group) const;

  const MemoryCgroup own_;
  const std::uint64_t limit_bytes_;
  const std::string root_;
};

}  // namespace bulkhead::coordinator
