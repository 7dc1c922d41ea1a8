#include "host/run_directory.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <system_error>
#include <utility>

namespace bulkhead::coordinator {
namespace {

using base::UniqueFd;

constexpr int kBaseLockTries = 500;  // of 10 ms

bool empty_directory(UniqueFd directory);

bool remove_entry(int parent, const char* name) {
  if (::unlinkat(parent, name, 0) == 0 || errno == ENOENT) return true;
  if (errno != EISDIR && errno != EPERM) return false;
  constexpr int kOpen = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
  UniqueFd directory(::openat(parent, name, kOpen));
  if (!directory && errno == EACCES) {
    // Ours, but closed even to us. fchmodat follows links, so look first; the parent is private.
    struct stat status {};
    if (::fstatat(parent, name, &status, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(status.st_mode) &&
        ::fchmodat(parent, name, 0700, 0) == 0)
      directory = UniqueFd(::openat(parent, name, kOpen));
  }
  if (directory) {
    (void)::fchmod(directory.get(), 0700);  // what this can't mend, rmdir below reports
    (void)empty_directory(std::move(directory));
  }
  return ::unlinkat(parent, name, AT_REMOVEDIR) == 0 || errno == ENOENT;
}

bool is_dots(const char* name) {
  return std::strcmp(name, ".") == 0 || std::strcmp(name, "..") == 0;
}

bool empty_directory(UniqueFd directory) {
  DIR* const stream = ::fdopendir(directory.get());
  if (stream == nullptr) return false;
  directory.release();  // the stream closes it
  bool all = true;
  while (const dirent* entry = ::readdir(stream))
    if (!is_dots(entry->d_name)) all = remove_entry(::dirfd(stream), entry->d_name) && all;
  ::closedir(stream);
  return all;
}

Code code_of(int error_number) {
  switch (error_number) {
    case ENOSPC:
    case EDQUOT:
    case EMFILE:
    case ENFILE:
    case ENOMEM:
      return Code::kResourceExhausted;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kPermissionDenied;
    case ENOENT:
    case ENOTDIR:
      return Code::kNotFound;
    default:
      return Code::kIoError;
  }
}

tl::unexpected<Error> refused(const std::string& path, const char* what, int error_number) {
  return fail(code_of(error_number),
              "cannot {} '{}': {}; set BULKHEAD_RUN_DIR to a directory on a disk with room", what,
              path, std::strerror(error_number));
}

std::string base_path() {
  if (const char* own = std::getenv("BULKHEAD_RUN_DIR"); own != nullptr && *own != '\0') {
    std::error_code
        ignored;  // without a current directory the path stays as it is, and fails later
    const auto absolute = std::filesystem::absolute(own, ignored);
    return ignored ? std::string(own) : absolute.lexically_normal().string();
  }
  // After su or sudo it may name a directory that is missing or another user's.
  struct stat status {};
  if (const char* runtime = std::getenv("XDG_RUNTIME_DIR");
      runtime != nullptr && *runtime == '/' && ::stat(runtime, &status) == 0 &&
      S_ISDIR(status.st_mode) && status.st_uid == ::geteuid())
    return std::string(runtime) + "/bulkhead";
  return "/tmp/bulkhead-" + std::to_string(::geteuid());
}

// Opened without following a link, and checked after opening, so that nobody can swap it.
Result<UniqueFd> open_base(const std::string& path) {
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST) return refused(path, "create", errno);
  UniqueFd base(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!base && (errno == ELOOP || errno == ENOTDIR))
    return fail(Code::kPermissionDenied,
                "'{}' is a link or no directory; remove it, or set BULKHEAD_RUN_DIR to a directory "
                "of yours with mode 0700",
                path);
  if (!base) return refused(path, "open", errno);
  struct stat status {};
  if (::fstat(base.get(), &status) != 0) return refused(path, "read", errno);
  if (status.st_uid != ::geteuid())
    return fail(Code::kPermissionDenied,
                "'{}' belongs to user {}, not to you; set BULKHEAD_RUN_DIR to a directory of yours "
                "with mode 0700",
                path, status.st_uid);
  if ((status.st_mode & 0777) != 0700)
    return fail(Code::kPermissionDenied,
                "'{}' has mode {:04o}, others could reach its sockets; run: chmod 700 '{}'", path,
                status.st_mode & 0777, path);
  return base;
}

// Held while runs are swept and while one creates its own directory and lock.
Result<void> lock_base(int base, const std::string& path) {
  for (int i = 0; i < kBaseLockTries; ++i) {
    if (::flock(base, LOCK_EX | LOCK_NB) == 0) return {};
    if (errno != EWOULDBLOCK && errno != EINTR) return refused(path, "lock", errno);
    const timespec pause{0, 10'000'000};
    ::nanosleep(&pause, nullptr);
  }
  return fail(Code::kTimedOut,
              "another bulkhead holds the lock of '{}': end it, or set "
              "BULKHEAD_RUN_DIR to another directory",
              path);
}

// Under the lock of the base, a run without a lock file can't be one that is just starting.
void sweep_dead_runs(int base) {
  DIR* const stream = ::fdopendir(::openat(base, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (stream == nullptr) return;
  while (const dirent* entry = ::readdir(stream)) {
    const std::string name = entry->d_name;
    if (name.rfind("run-", 0) != 0) continue;
    const UniqueFd lock(::openat(base, (name + "/lock").c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC));
    if (!lock && errno != ENOENT) continue;
    if (lock && ::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    (void)remove_entry(base, name.c_str());  // what stays is met again by the next sweep
  }
  ::closedir(stream);
}

}  // namespace

bool remove_tree(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) return errno == ENOENT;
  if (!S_ISDIR(status.st_mode)) return false;
  return remove_entry(AT_FDCWD, path.c_str());
}

Result<RunDirectory> RunDirectory::create() {
  const std::string base_name = base_path();
  auto base = open_base(base_name);
  if (!base) return fail(base.error());
  if (auto locked = lock_base(base->get(), base_name); !locked) return fail(locked.error());
  sweep_dead_runs(base->get());

  std::string path = base_name + "/run-XXXXXX";
  if (::mkdtemp(path.data()) == nullptr) return refused(base_name, "create a directory in", errno);
  RunDirectory run;
  run.path_ = path;
  const std::string lock = path + "/lock";
  run.lock_ =
      UniqueFd(::open(lock.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!run.lock_) return refused(lock, "create", errno);
  if (::flock(run.lock_.get(), LOCK_EX | LOCK_NB) != 0) return refused(lock, "lock", errno);
  return run;
}

RunDirectory::RunDirectory(RunDirectory&& other) noexcept
    : path_(std::exchange(other.path_, {})), lock_(std::move(other.lock_)) {}

RunDirectory& RunDirectory::operator=(RunDirectory&& other) noexcept {
  if (this != &other) {
    if (!path_.empty()) (void)remove_tree(path_);
    path_ = std::exchange(other.path_, {});
    lock_ = std::move(other.lock_);
  }
  return *this;
}

// The lock is let go after the removal. What can't be removed is met again by the next run's sweep.
RunDirectory::~RunDirectory() {
  if (!path_.empty()) (void)remove_tree(path_);
}

}  // namespace bulkhead::coordinator
