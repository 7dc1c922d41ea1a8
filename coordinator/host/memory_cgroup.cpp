#include "host/memory_cgroup.hpp"

#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bulkhead/base/unique_fd.hpp>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>
#include <utility>
#include <vector>

#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPrefix = "bulkhead-";

// cgroup files want one write, and never to be created or cut.
bool write_value(const std::string& file, const std::string& value) {
  const base::UniqueFd fd(::open(file.c_str(), O_WRONLY | O_CLOEXEC));
  return fd && ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

// A cgroup's files go with it; only groups inside it are in the way.
void remove_group(const std::string& directory) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(directory, error)) {
    if (entry.is_directory(error)) ::rmdir(entry.path().c_str());
  }
  ::rmdir(directory.c_str());
}

bool machine_swaps() {
  std::ifstream swaps("/proc/swaps");
  std::string line;
  return std::getline(swaps, line) && std::getline(swaps, line);  // a heading, then one each
}

// Of coordinators that are gone.
void sweep(const std::string& parent) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(parent, error)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(kPrefix)) continue;
    pid_t pid = 0;
    const char* const begin = name.data() + std::char_traits<char>::length(kPrefix);
    const char* const end = name.data() + name.size();
    const auto [stop, wrong] = std::from_chars(begin, end, pid);
    if (wrong != std::errc() || stop != end || pid <= 1) continue;
    if (::kill(pid, 0) != 0 && errno == ESRCH) remove_group(entry.path());
  }
}

}  // namespace

MemoryCgroup own_memory_cgroup() {
  std::ifstream mounts("/proc/self/mountinfo");
  std::string unified;
  std::string memory;
  for (std::string line; std::getline(mounts, line);) {
    // "36 35 98:0 /root /mount options… - type source super-options"
    const std::size_t dash = line.find(" - ");
    if (dash == std::string::npos) continue;
    const std::vector<std::string> left = split(line.substr(0, dash), ' ');
    const std::vector<std::string> right = split(line.substr(dash + 3), ' ');
    if (left.size() < 5 || right.size() < 3) continue;
    if (right[0] == "cgroup2") unified = left[4];
    for (const std::string& option : split(right[2], ',')) {
      if (right[0] == "cgroup" && option == "memory") memory = left[4];
    }
  }
  std::ifstream groups("/proc/self/cgroup");
  for (std::string line; std::getline(groups, line);) {
    const std::vector<std::string> parts = split(line, ':');  // "4:memory:/path", "0::/path"
    if (parts.size() < 3) continue;
    const std::string path = line.substr(parts[0].size() + parts[1].size() + 2);
    for (const std::string& controller : split(parts[1], ',')) {
      if (controller == "memory" && !memory.empty())
        return {memory + path, "memory.limit_in_bytes", "memory.memsw.limit_in_bytes", false,
                "memory.oom_control"};
    }
    if (parts[0] == "0" && memory.empty() && !unified.empty())
      return {unified + path, "memory.max", "memory.swap.max", true, "memory.events"};
  }
  return {};
}

WorkerGroups::WorkerGroups(MemoryCgroup own, std::uint64_t limit_bytes)
    : own_(std::move(own)),
      limit_bytes_(limit_bytes),
      root_(own_.directory + "/" + kPrefix + std::to_string(::getpid())) {}

WorkerGroups::~WorkerGroups() { remove_group(root_); }

std::unique_ptr<WorkerGroups> WorkerGroups::open(std::uint64_t limit_bytes) {
  MemoryCgroup own = own_memory_cgroup();
  if (own.directory.empty()) return nullptr;
  sweep(own.directory);
  std::unique_ptr<WorkerGroups> groups(new WorkerGroups(std::move(own), limit_bytes));
  if (!groups->make(groups->root_)) return nullptr;
  // Version 2 hands a controller down only where it is told to; version 1 has no such file.
  const std::string handed_down = groups->root_ + "/cgroup.subtree_control";
  if (fs::exists(handed_down) && !write_value(handed_down, "+memory")) return nullptr;
  const std::string probe = groups->path("probe");
  const bool able = groups->make(probe) && groups->limit(probe);
  ::rmdir(probe.c_str());
  return able ? std::move(groups) : nullptr;
}

bool WorkerGroups::make(const std::string& directory) const {
  return ::mkdir(directory.c_str(), 0755) == 0 || errno == EEXIST;
}

// Without a limit on swap the kernel would move pages there instead of ending anybody.
bool WorkerGroups::limit(const std::string& group) const {
  if (!write_value(group + "/" + own_.limit_file, std::to_string(limit_bytes_))) return false;
  const std::string swap = own_.swap_alone ? "0" : std::to_string(limit_bytes_);
  return write_value(group + "/" + own_.swap_file, swap) || !machine_swaps();
}

bool WorkerGroups::add(const std::string& name, pid_t pid) {
  const std::string group = path(name);
  return make(group) && limit(group) && write_value(group + "/cgroup.procs", std::to_string(pid));
}

bool WorkerGroups::struck(const std::string& name) const {
  std::ifstream events(path(name) + "/" + own_.events_file);
  for (std::string line; std::getline(events, line);) {
    std::istringstream words(line);
    std::string word;
    std::uint64_t count = 0;
    if (words >> word >> count && word == "oom_kill") return count > 0;
  }
  return false;
}

void WorkerGroups::remove(const std::string& name) { ::rmdir(path(name).c_str()); }

}  // namespace bulkhead::coordinator
