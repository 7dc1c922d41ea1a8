// A reader of the path sees the old file or the whole new one: the content goes to a temporary file
// beside it, to the disk, and then takes its name.
#include "report/write_file.hpp"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <optional>

namespace bulkhead::coordinator {
namespace {

// Writes the content to a descriptor; 0 or errno.
using Fill = std::function<int(int fd)>;

tl::unexpected<Error> system_failure(std::string_view what, std::string_view path, int error) {
  const std::string shown = wire::printable(path);
  const char* text = strerrordesc_np(error);
  const auto failure = [&](Code code, std::string_view remedy) {
    return fail(code, "cannot {} '{}': {}: {}", what, shown,
                text != nullptr ? text : "unknown error", remedy);
  };
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return failure(Code::kResourceExhausted, "make room there, or write to another disk");
    case EFBIG:
      return failure(Code::kResourceExhausted, "raise the limit on file sizes (ulimit -f)");
    case EMFILE:
    case ENFILE:
      return failure(Code::kResourceExhausted, "raise the limit on descriptors (ulimit -n)");
    case EACCES:
    case EPERM:
    case EROFS:
      return failure(Code::kPermissionDenied, "name a file in a directory that you can write to");
    case ENOENT:
    case ENOTDIR:
      return failure(Code::kNotFound, "create its directory first, or name another");
    case EISDIR:
      return failure(Code::kInvalidArgument, "name a file in it");
    case ENAMETOOLONG:
    case ELOOP:
      return failure(Code::kInvalidArgument, "name another file");
    case EPIPE:
      return failure(Code::kUnavailable, "its reader went away");
    default:
      return failure(Code::kIoError, "check the disk, or write elsewhere");
  }
}

// 0 or errno. Whole, over short writes, signals and a descriptor that does not block.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      if (::poll(&ready, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

// A full disk may show only here, on some network file systems.
int close_checked(base::UniqueFd fd) { return ::close(fd.release()) == 0 ? 0 : errno; }

Result<void> write_in_place(const std::string& path, const Fill& fill) {
  base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return system_failure("open", path, errno);
  if (const int error = fill(fd.get())) return system_failure("write to", path, error);
  if (const int error = close_checked(std::move(fd)))
    return system_failure("write to", path, error);
  return {};
}

// A file of our own in `directory` that disappears unless it was renamed away.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& directory) {
    for (int attempt = 0; attempt < 1000 && !fd_; ++attempt) {
      path_ = fmt::format("{}/.bulkhead-{}-{}.tmp", directory, ::getpid(), attempt);
      // The user's umask decides on the mode, as for any file that a command writes.
      fd_ = base::UniqueFd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      error_ = fd_ ? 0 : errno;
      if (!fd_ && error_ != EEXIST) break;
    }
    exists_ = static_cast<bool>(fd_);
  }
  ~TemporaryFile() {
    if (exists_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int error() const { return error_; }  // why there is none
  int fd() const { return fd_.get(); }
  int close() { return close_checked(std::move(fd_)); }
  int rename_to(const std::string& path) {
    if (::rename(path_.c_str(), path.c_str()) != 0) return errno;
    exists_ = false;
    return 0;
  }

 private:
  base::UniqueFd fd_;
  std::string path_;
  int error_ = 0;
  bool exists_ = false;
};

std::string directory_of(const std::string& path) {
  const std::size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

// `old` describes the regular file that is there now, if any. `path` is what the user wrote.
Result<void> replace(const std::string& path, const std::string& target,
                     const std::optional<struct stat>& old, const Fill& fill) {
  const std::string directory = directory_of(target);
  // rename() asks only the directory; a file that its owner made read-only stays.
  if (old && ::access(target.c_str(), W_OK) != 0) return system_failure("write to", path, errno);
  TemporaryFile file(directory);
  if (file.fd() < 0) return system_failure("create", path, file.error());
  if (old && ::fchmod(file.fd(), old->st_mode & 07777) != 0) {
    return system_failure("write to", path, errno);
  }
  if (const int error = fill(file.fd())) return system_failure("write to", path, error);
  if (::fsync(file.fd()) != 0) return system_failure("write to", path, errno);
  if (const int error = file.close()) return system_failure("write to", path, error);
  if (const int error = file.rename_to(target)) return system_failure("write to", path, error);
  // The content is safe; a directory that can't be synced only risks that the old file comes back
  // after a power cut.
  const base::UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent) ::fsync(parent.get());
  return {};
}

// What a path leads to, and how it is to be written.
struct Target {
  bool in_place = false;           // a pipe, a device: nothing to replace
  std::string path;                // behind all links: the file is replaced, not the link
  std::optional<struct stat> old;  // the regular file that is there now
};

Result<Target> target_of(const std::string& path) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) return system_failure("write to", path, errno);
    if (path.empty() || path.back() == '/') return system_failure("write to", path, ENOENT);
    return Target{false, path, std::nullopt};
  }
  if (S_ISDIR(status.st_mode)) return system_failure("write to", path, EISDIR);
  if (!S_ISREG(status.st_mode)) return Target{true, path, std::nullopt};
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return system_failure("write to", path, errno);
  Target target{false, resolved, status};
  std::free(resolved);
  return target;
}

Result<void> write_filled(const std::string& path, const Fill& fill) {
  const auto target = target_of(path);
  if (!target) return fail(target.error());
  if (target->in_place) return write_in_place(path, fill);
  return replace(path, target->path, target->old, fill);
}

bool may(const std::string& path, int what) {
  return ::faccessat(AT_FDCWD, path.c_str(), what, AT_EACCESS) == 0;
}

// All that is left to read in `from`; 0 or errno.
int copy_all(int from, int to) {
  std::array<char, 64 * 1024> buffer{};
  for (;;) {
    const ssize_t got = ::read(from, buffer.data(), buffer.size());
    if (got == 0) return 0;
    if (got < 0 && errno != EINTR) return errno;
    if (got < 0) continue;
    if (const int error = write_all(to, {buffer.data(), static_cast<std::size_t>(got)}))
      return error;
  }
}

}  // namespace

Result<void> check_can_write(const std::string& path) {
  const auto target = target_of(path);
  if (!target) return fail(target.error());
  if ((target->in_place || target->old) && !may(target->path, W_OK))
    return system_failure("write to", path, errno);
  if (target->in_place) return {};
  // By trying: what access() says is not all that matters, and for root it says yes to everything.
  const TemporaryFile trial(directory_of(target->path));
  if (trial.error() != 0) return system_failure("write to", path, trial.error());
  return {};
}

Result<void> write_file(const std::string& path, std::string_view text) {
  return write_filled(path, [&](int fd) { return write_all(fd, text); });
}

Result<void> copy_file(const std::string& from, const std::string& path) {
  // It was made by a worker: no link is followed, and a pipe does not hold us up.
  const base::UniqueFd source(::open(from.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  if (!source) return system_failure("read", from, errno);
  struct stat status {};
  if (::fstat(source.get(), &status) != 0) return system_failure("read", from, errno);
  if (!S_ISREG(status.st_mode))
    return fail(Code::kProtocolError, "'{}' is not a regular file", wire::printable(from));
  return write_filled(path, [&](int fd) { return copy_all(source.get(), fd); });
}

Result<void> write_standard_output(std::string_view text) {
  const int error = write_all(STDOUT_FILENO, text);
  if (error == 0 || error == EPIPE) return {};
  return system_failure("write to", "standard output", error);
}

}  // namespace bulkhead::coordinator
