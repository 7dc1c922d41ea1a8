// One probe for each capability. A probe does the thing itself, in a child of its own where that
// could change this process, and says what came of it: versions and configuration files lie.
#include <fcntl.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <bulkhead/base/unique_fd.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <sstream>

#include "cli/doctor.hpp"
#include "cli/options.hpp"
#include "cli/values.hpp"
#include "host/memory_cgroup.hpp"
#include "host/run_directory.hpp"

namespace bulkhead::coordinator {
namespace {

using base::UniqueFd;

constexpr int kGuardInstall = 102;  // MADV_GUARD_INSTALL, Linux 6.13: unknown to older headers

// What a probe found: 0, or the errno of the step that failed.
struct Outcome {
  int error = 0;
  const char* step = "";
};

Outcome failed(const char* step) { return {errno, step}; }

std::string explain(const Outcome& outcome) {
  return fmt::format("{}: {}", outcome.step, std::strerror(outcome.error));
}

// Runs `probe` in a forked child, which may only use system calls; gives its errno. A child that
// was killed counts as forbidden: seccomp filters kill.
int errno_in_child(int (*probe)()) {
  const pid_t child = fork();
  if (child < 0) return errno;
  if (child == 0) _exit(probe());
  int status = 0;
  while (waitpid(child, &status, 0) < 0) {
    if (errno != EINTR) return errno;
  }
  return WIFEXITED(status) ? WEXITSTATUS(status) : EPERM;
}

Outcome try_pidfd() {
  const pid_t child = fork();
  if (child < 0) return failed("fork");
  if (child == 0) {
    for (;;) pause();
  }
  Outcome outcome;
  const UniqueFd fd(static_cast<int>(syscall(SYS_pidfd_open, child, 0)));
  if (!fd) outcome = failed("pidfd_open");
  kill(child, SIGKILL);
  if (fd) {
    pollfd waiting{fd.get(), POLLIN, 0};
    int ready = 0;
    do {
      ready = poll(&waiting, 1, 10'000);
    } while (ready < 0 && errno == EINTR);
    if (ready == 0) errno = ETIMEDOUT;
    if (ready != 1) outcome = failed("poll of a pidfd");
  }
  while (waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
  }
  return outcome;
}

Outcome try_memfd_seals() {
  const UniqueFd fd(memfd_create("bulkhead-probe", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!fd) return failed("memfd_create");
  if (ftruncate(fd.get(), 4096) != 0) return failed("ftruncate");
  constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  if (fcntl(fd.get(), F_ADD_SEALS, kSeals) != 0) return failed("F_ADD_SEALS");
  if (ftruncate(fd.get(), 0) == 0) return {EINVAL, "a sealed memfd could be cut"};
  return {};
}

int subreaper_child() { return prctl(PR_SET_CHILD_SUBREAPER, 1) == 0 ? 0 : errno; }

int close_range_child() {
  const int fd = dup(STDERR_FILENO);
  if (fd < 0) return 0;  // nothing to close: the call below would prove as much
  const auto number = static_cast<unsigned>(fd);
  if (syscall(SYS_close_range, number, number, 0) != 0) return errno;
  return fcntl(fd, F_GETFD) < 0 ? 0 : EINVAL;
}

int user_namespace_child() { return unshare(CLONE_NEWUSER) == 0 ? 0 : errno; }
// Root may do without a user namespace, and so may whoever lacks those but has the capability.
int net_namespace_child() {
  if (unshare(CLONE_NEWNET) == 0) return 0;
  return unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0 ? 0 : errno;
}

// A read of a guard page by the kernel gives EFAULT, where a read of ours would be a crash.
Outcome try_guard_madvise() {
  const auto page = static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
  void* const memory =
      mmap(nullptr, page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return failed("mmap");
  Outcome outcome;
  int ends[2] = {-1, -1};
  if (madvise(memory, page, kGuardInstall) != 0) {
    outcome = failed("madvise(MADV_GUARD_INSTALL)");
  } else if (pipe2(ends, O_CLOEXEC) != 0) {
    outcome = failed("pipe");
  } else if (write(ends[1], memory, 1) >= 0 || errno != EFAULT) {
    outcome = {EINVAL, "a guarded page could be read"};
  }
  const UniqueFd first(ends[0]);
  const UniqueFd second(ends[1]);
  munmap(memory, page);
  return outcome;
}

Outcome try_proc() {
  std::ifstream file("/proc/self/smaps_rollup");
  if (!file) return failed("/proc/self/smaps_rollup");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("Pss:", 0) == 0) return {};
  }
  return {ENODATA, "/proc/self/smaps_rollup has no Pss"};
}

Outcome try_perf() {
  perf_event_attr attributes{};
  attributes.size = sizeof attributes;
  attributes.type = PERF_TYPE_HARDWARE;
  attributes.config = PERF_COUNT_HW_CPU_CYCLES;
  attributes.exclude_kernel = 1;
  attributes.exclude_hv = 1;
  const UniqueFd fd(
      static_cast<int>(syscall(SYS_perf_event_open, &attributes, 0, -1, -1, PERF_FLAG_FD_CLOEXEC)));
  return fd ? Outcome{} : failed("perf_event_open of CPU cycles");
}

std::string first_line(const std::string& path) {
  std::ifstream file(path);
  std::string line;
  std::getline(file, line);
  return line;
}

Outcome try_memory_cgroup(std::string& directory) {
  const MemoryCgroup own = own_memory_cgroup();
  if (own.directory.empty()) return {ENOENT, "no memory cgroup is mounted"};
  directory = own.directory;
  const std::string probe = fmt::format("{}/bulkhead-probe-{}", own.directory, getpid());
  if (mkdir(probe.c_str(), 0700) != 0) return failed("mkdir");
  Outcome outcome;
  if (access(fmt::format("{}/{}", probe, own.limit_file).c_str(), W_OK) != 0) {
    outcome = failed(own.limit_file);
  }
  if (rmdir(probe.c_str()) != 0 && outcome.error == 0) outcome = failed("rmdir");
  return outcome;
}

class Doctor {
 public:
  std::vector<Capability> examine() {
    kernel();
    tell("pidfd", true, try_pidfd(), "a child's end was seen through its pidfd",
         "use Linux 5.3 or later; in a container allow pidfd_open in its seccomp profile");
    tell("subreaper", true, {errno_in_child(subreaper_child), "prctl(PR_SET_CHILD_SUBREAPER)"},
         "a process can adopt its orphaned descendants", "allow prctl in the seccomp profile");
    tell("memfd-seals", true, try_memfd_seals(), "a sealed memory file keeps its size",
         "allow memfd_create in the seccomp profile");
    tell("close-range", false, {errno_in_child(close_range_child), "close_range"},
         "descriptors can be closed by range", "use Linux 5.9 or later");
    tell("guard-madvise", false, try_guard_madvise(), "guard pages cost no mapping",
         "use Linux 6.13 or later; until then guards are mappings, and vm.max_map_count bounds "
         "them");
    tell("proc", true, try_proc(), "/proc/self/smaps_rollup tells the proportional memory",
         "mount it: mount -t proc proc /proc");
    std::string directory;
    const Outcome cgroup = try_memory_cgroup(directory);
    tell("memory-cgroup", false, cgroup, fmt::format("a group could be made in {}", directory),
         "run as root, or in a delegated group: systemd-run --user --scope -p Delegate=yes "
         "bulkhead …");
    tell("user-namespaces", false, {errno_in_child(user_namespace_child), "unshare(CLONE_NEWUSER)"},
         "a child got its own user namespace",
         "sysctl user.max_user_namespaces and kernel.unprivileged_userns_clone, as root");
    tell("net-namespaces", false, {errno_in_child(net_namespace_child), "unshare(CLONE_NEWNET)"},
         "a child got its own network", "run as root, or allow user namespaces");
    tell("perf", false, try_perf(), "CPU cycles can be counted",
         fmt::format("sysctl kernel.perf_event_paranoid=2 (now {}); a virtual machine may have no "
                     "counters at all",
                     first_line("/proc/sys/kernel/perf_event_paranoid")));
    core_dumps();
    descriptors();
    disk();
    return std::move(found_);
  }

 private:
  void add(const char* name, bool present, bool needed, std::string reason, std::string remedy) {
    found_.push_back({name, present, needed, std::move(reason), present ? "" : std::move(remedy)});
  }
  void tell(const char* name, bool needed, const Outcome& outcome, std::string success,
            std::string remedy) {
    const bool present = outcome.error == 0;
    add(name, present, needed, present ? std::move(success) : explain(outcome), std::move(remedy));
  }

  void kernel() {
    utsname system{};
    int major = 0;
    int minor = 0;
    const bool known =
        uname(&system) == 0 && std::sscanf(system.release, "%d.%d", &major, &minor) == 2;
    add("kernel", known && (major > 5 || (major == 5 && minor >= 3)), true,
        fmt::format("{} {}", system.sysname, system.release), "use Linux 5.3 or later");
  }

  void core_dumps() {
    const std::string pattern = first_line("/proc/sys/kernel/core_pattern");
    rlimit limit{};
    getrlimit(RLIMIT_CORE, &limit);
    const bool present = limit.rlim_cur > 0 && !pattern.empty();
    const std::string size = limit.rlim_cur == RLIM_INFINITY
                                 ? "unlimited"
                                 : format_size(static_cast<std::uint64_t>(limit.rlim_cur));
    add("core-dumps", present, false,
        fmt::format("limit {}, core_pattern {}", size, in_quotes(pattern)), "ulimit -c unlimited");
  }

  void descriptors() {
    const std::uint32_t workers = max_workers({transport::Kind::kZmqIpc});
    rlimit limit{};
    getrlimit(RLIMIT_NOFILE, &limit);
    add("descriptors", workers >= 4, true,
        fmt::format("{} descriptors: room for {} workers", limit.rlim_cur, workers),
        "raise the hard limit: ulimit -Hn 4096, as root, or in /etc/security/limits.conf");
  }

  void disk() {
    constexpr std::uint64_t kNeeded = 64u << 20;
    const char* const remedy = "set BULKHEAD_RUN_DIR to a directory of yours with room in it";
    const auto directory = RunDirectory::create();
    if (!directory) return add("disk", false, true, directory.error().text, remedy);
    struct statvfs room {};
    if (statvfs(directory->path().c_str(), &room) != 0) {
      return add("disk", false, true, explain(failed("statvfs")), remedy);
    }
    const std::uint64_t free = std::uint64_t{room.f_bavail} * room.f_frsize;
    const std::string path = directory->path();
    add("disk", free >= kNeeded, true,
        fmt::format("{}MiB free in {}", free >> 20, path.substr(0, path.rfind('/'))), remedy);
  }

  std::vector<Capability> found_;
};

}  // namespace

const std::vector<std::string>& capability_names() {
  static const std::vector<std::string> kNames{"kernel",         "pidfd",         "subreaper",
                                               "memfd-seals",    "close-range",   "guard-madvise",
                                               "proc",           "memory-cgroup", "user-namespaces",
                                               "net-namespaces", "perf",          "core-dumps",
                                               "descriptors",    "disk"};
  return kNames;
}

std::vector<Capability> probe_machine() { return Doctor().examine(); }

bool has_madvise_guards() { return try_guard_madvise().error == 0; }

}  // namespace bulkhead::coordinator
