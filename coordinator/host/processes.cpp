#include "host/processes.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

namespace bulkhead::coordinator {
namespace {

constexpr int kIdTypePidfd = 3;  // P_PIDFD

double to_seconds(const timeval& time) {
  return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
}

// The system call, unlike glibc's function, also fills a rusage, and does so for a peek too.
ChildEnd wait_for(int id_type, int id, Collect collect) {
  siginfo_t info{};
  rusage used{};
  const int options = WEXITED | WNOHANG | (collect == Collect::kPeek ? WNOWAIT : 0);
  ChildEnd end;
  while (::syscall(SYS_waitid, id_type, id, &info, options, &used) != 0) {
    if (errno == EINTR) continue;
    end.error_number = errno;
    return end;
  }
  if (info.si_pid == 0) return end;
  end.pid = info.si_pid;
  end.code = info.si_code;
  end.status = info.si_status;
  end.usage = {.user_seconds = to_seconds(used.ru_utime),
               .system_seconds = to_seconds(used.ru_stime),
               .voluntary_switches = static_cast<std::uint64_t>(used.ru_nvcsw),
               .involuntary_switches = static_cast<std::uint64_t>(used.ru_nivcsw),
               .minor_faults = static_cast<std::uint64_t>(used.ru_minflt),
               .major_faults = static_cast<std::uint64_t>(used.ru_majflt),
               .peak_rss_bytes = static_cast<double>(used.ru_maxrss) * 1024};
  return end;
}

// "PID (name) S PARENT GROUP …"; the name may hold anything, so the last ')' ends it.
bool parse_stat(std::string_view text, Process& process) {
  const std::size_t name_end = text.rfind(')');
  if (name_end == std::string_view::npos || name_end + 4 >= text.size()) return false;
  const char state = text[name_end + 2];
  process.alive = state != 'Z' && state != 'X';
  const char* at = text.data() + name_end + 4;
  const char* const end = text.data() + text.size();
  for (pid_t* field : {&process.parent, &process.group}) {
    const auto [next, error] = std::from_chars(at, end, *field);
    if (error != std::errc() || next == end) return false;
    at = next + 1;
  }
  return true;
}

// False when the process has ended meanwhile.
bool read_stat(int directory, const std::string& path, Process& process) {
  const base::UniqueFd file(::openat(directory, path.c_str(), O_RDONLY | O_CLOEXEC));
  char text[512];
  const ssize_t size = file ? ::read(file.get(), text, sizeof text) : 0;
  return size > 0 && parse_stat({text, static_cast<std::size_t>(size)}, process);
}

}  // namespace

base::UniqueFd open_pidfd(pid_t pid) {
  return base::UniqueFd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
}

bool send_signal(int pidfd, int signal_number) {
  return ::syscall(SYS_pidfd_send_signal, pidfd, signal_number, nullptr, 0) == 0;
}

ChildEnd any_child(Collect collect) { return wait_for(P_ALL, 0, collect); }
ChildEnd child_by_pid(pid_t pid, Collect collect) { return wait_for(P_PID, pid, collect); }
ChildEnd child_by_pidfd(int pidfd, Collect collect) {
  return wait_for(kIdTypePidfd, pidfd, collect);
}

std::vector<Process> list_processes() {
  std::vector<Process> table;
  DIR* directory = ::opendir("/proc");
  if (directory == nullptr) return table;
  while (const dirent* entry = ::readdir(directory)) {
    const char* const name = entry->d_name;
    Process process;
    const auto [end, error] = std::from_chars(name, name + std::strlen(name), process.pid);
    if (error != std::errc() || *end != '\0') continue;
    if (read_stat(::dirfd(directory), std::string(name) + "/stat", process))
      table.push_back(process);
  }
  ::closedir(directory);
  return table;
}

bool may_have_strays(const std::function<bool(pid_t)>& known) {
  const std::string path = "/proc/self/task/" + std::to_string(::getpid()) + "/children";
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return true;
  bool strays = false;
  int pid = 0;
  while (!strays && std::fscanf(file, "%d", &pid) == 1) strays = !known(pid);
  std::fclose(file);
  return strays;
}

bool descends_from(pid_t pid, pid_t ancestor) {
  constexpr int kDeepest = 100;  // a bound, in case numbers are used again while this reads
  pid_t at = pid;
  for (int depth = 0; depth < kDeepest && at > 1; ++depth) {
    if (at == ancestor) return true;
    Process process;
    if (read_stat(AT_FDCWD, "/proc/" + std::to_string(at) + "/stat", process)) {
      at = process.parent;
    } else if (at != pid) {
      at = pid;  // an ancestor ended meanwhile, and its children have another parent now
    } else {
      return false;
    }
  }
  return false;
}

std::optional<double> pss_bytes_of(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/smaps_rollup";
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return std::nullopt;
  char line[256];
  std::optional<double> bytes;
  double kibibytes = 0;
  while (!bytes && std::fgets(line, sizeof line, file) != nullptr)
    if (std::sscanf(line, "Pss: %lf kB", &kibibytes) == 1) bytes = kibibytes * 1024;
  std::fclose(file);
  return bytes;
}

std::optional<double> resident_bytes_of(pid_t pid) {
  const std::string path = "/proc/" + std::to_string(pid) + "/statm";
  FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return std::nullopt;
  double pages = 0;
  const bool read = std::fscanf(file, "%*s %lf", &pages) == 1;
  std::fclose(file);
  if (!read) return std::nullopt;
  return pages * static_cast<double>(sysconf(_SC_PAGESIZE));
}

void kill_process_group(pid_t leader) {
  BULKHEAD_CHECK(leader > 1, "kill(-{}) would reach strangers", leader);
  ::kill(-leader, SIGKILL);
}

unsigned kill_group_of(pid_t leader, const std::vector<Process>& table) {
  unsigned members = 0;
  for (const Process& process : table)
    members += process.group == leader && process.pid != leader && process.alive;
  kill_process_group(leader);
  return members;
}

unsigned kill_strays(const std::function<bool(pid_t)>& known, const std::vector<Process>& table,
                     pid_t counted_group) {
  const pid_t self = ::getpid();
  unsigned killed = 0;
  for (const Process& process : table) {
    if (process.parent != self || known(process.pid)) continue;
    if (process.group == process.pid) kill_process_group(process.pid);
    ::kill(process.pid, SIGKILL);
    killed += process.alive && process.group != counted_group;
  }
  return killed;
}

}  // namespace bulkhead::coordinator
