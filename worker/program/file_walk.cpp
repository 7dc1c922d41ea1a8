#include "program/file_walk.hpp"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/unique_fd.hpp>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <memory>
#include <set>
#include <string_view>
#include <system_error>

namespace bulkhead::program {
namespace {

std::string joined(const std::string& directory, std::string_view name) {
  std::string path;
  path.reserve(directory.size() + 1 + name.size());
  path = directory;
  if (path.empty() || path.back() != '/') path += '/';
  path += name;
  return path;
}

// Absolute, without empty parts, "." and "..": so that one path has one spelling. Links stay,
// except before a "..", which means the parent of what a link points to. Empty and errno when that
// cannot be told.
std::string one_spelling(const std::string& input) {
  std::string path;
  if (input.empty() || input.front() != '/') {
    const std::unique_ptr<char, decltype(&std::free)> here(::getcwd(nullptr, 0), &std::free);
    if (here == nullptr) return {};
    path = here.get();
  }
  std::string_view rest = input;
  while (!rest.empty()) {
    const std::size_t slash = std::min(rest.find('/'), rest.size());
    const std::string_view part = rest.substr(0, slash);
    rest.remove_prefix(std::min(slash + 1, rest.size()));
    if (part.empty() || part == ".") continue;
    path = joined(path, part);
    if (part != "..") continue;
    const std::unique_ptr<char, decltype(&std::free)> real(::realpath(path.c_str(), nullptr),
                                                           &std::free);
    if (real == nullptr) return {};
    path = real.get();
  }
  return path.empty() ? "/" : path;
}

class Walk {
 public:
  explicit Walk(const FileVisitor& visitor) : visitor_(visitor) {}

  void run(const std::vector<std::string>& inputs) {
    for (const std::string& input : inputs) {
      errno = 0;
      std::string path = input.empty() ? std::string() : one_spelling(input);
      if (!path.empty()) {
        inputs_.insert(std::move(path));
      } else if (!skip(input, input.empty() ? "an empty path" : error_text(errno))) {
        return;
      }
    }
    // In byte order, so a directory comes before what is in it: an input that the walk of an
    // earlier one reached is done with, and one that it did not reach has nothing under it that
    // was.
    for (const std::string& input : inputs_)
      if (!reached_.contains(input) && !walk_from(input)) return;
  }

 private:
  struct Directory {
    std::string path;
    dev_t device;
    ino_t inode;
    std::vector<std::string> names;
    std::size_t next = 0;
  };

  // No recursion: the depth of a tree is not bounded by a goroutine's stack.
  bool walk_from(const std::string& root) {
    ancestors_.clear();
    if (!visit(root)) return false;
    while (!ancestors_.empty()) {
      Directory& last = ancestors_.back();
      if (last.next == last.names.size()) {
        ancestors_.pop_back();
        continue;
      }
      const std::string path = joined(last.path, last.names[last.next++]);
      if (!visit(path)) return false;
    }
    return true;
  }

  bool visit(const std::string& path) {
    if (inputs_.contains(path)) reached_.insert(path);
    struct stat status {};
    if (::stat(path.c_str(), &status) != 0) return skip(path, unreachable(path, errno));
    if (S_ISDIR(status.st_mode)) return enter(path);
    if (S_ISREG(status.st_mode)) return found(path);
    return skip(path, kind_of_file(status));
  }

  static std::string unreachable(const std::string& path, int error) {
    struct stat status {};
    const bool is_link = ::lstat(path.c_str(), &status) == 0 && S_ISLNK(status.st_mode);
    if (is_link && error == ENOENT) return "broken symbolic link";
    return error_text(error);
  }

  bool enter(const std::string& path) {
    base::UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) return skip(path, error_text(errno));
    for (const Directory& above : ancestors_) {
      if (above.device != status.st_dev || above.inode != status.st_ino) continue;
      if (inputs_.contains(path)) {  // walked on its own account later
        reached_.erase(path);
        return true;
      }
      return skip(path, "directory loop, the same directory as '" + above.path + "'");
    }

    const std::unique_ptr<DIR, int (*)(DIR*)> stream(::fdopendir(fd.get()), &::closedir);
    if (stream == nullptr) return skip(path, error_text(errno));
    static_cast<void>(fd.release());  // the stream closes it
    Directory directory{path, status.st_dev, status.st_ino, {}};
    errno = 0;
    while (const dirent* entry = ::readdir(stream.get())) {
      const std::string_view name = entry->d_name;
      if (name != "." && name != "..") directory.names.emplace_back(name);
    }
    const int error = errno;
    std::sort(directory.names.begin(), directory.names.end());
    ancestors_.push_back(std::move(directory));
    return error == 0 || skip(path, "listed in part only: " + error_text(error));
  }

  bool found(const std::string& path) {
    const base::UniqueFd fd(open_file(path));
    struct stat status {};
    if (!fd || ::fstat(fd.get(), &status) != 0) return skip(path, error_text(errno));
    if (!S_ISREG(status.st_mode)) return skip(path, kind_of_file(status));
    if (status.st_size == 0) {  // files of /proc say 0 and have content
      char byte = 0;
      const ssize_t got = ::read(fd.get(), &byte, 1);
      if (got < 0) return skip(path, error_text(errno));
      if (got > 0) return skip(path, "has content but tells no size");
    }
    return visitor_.file({path, static_cast<std::uint64_t>(status.st_size), modified_ns(status)});
  }

  bool skip(const std::string& path, std::string reason) {
    return visitor_.skipped({path, std::move(reason)});
  }

  const FileVisitor& visitor_;
  std::set<std::string> inputs_;   // in one spelling
  std::set<std::string> reached_;  // those of inputs_ that were visited
  std::vector<Directory> ancestors_;
};

}  // namespace

void walk_files(const std::vector<std::string>& inputs, const FileVisitor& visitor) {
  Walk(visitor).run(inputs);
}

std::int64_t modified_ns(const struct stat& status) {
  return static_cast<std::int64_t>(status.st_mtim.tv_sec) * 1'000'000'000 + status.st_mtim.tv_nsec;
}

const char* kind_of_file(const struct stat& status) {
  switch (status.st_mode & S_IFMT) {
    case S_IFREG:
      return "regular file";
    case S_IFDIR:
      return "directory";
    case S_IFIFO:
      return "FIFO";
    case S_IFSOCK:
      return "socket";
    case S_IFCHR:
      return "character device";
    case S_IFBLK:
      return "block device";
    default:
      return "not a regular file";
  }
}

int open_file(const std::string& path) {
  int fd = -1;
  do {
    fd = ::open(path.c_str(), O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

std::string error_text(int error) { return std::generic_category().message(error); }

}  // namespace bulkhead::program
