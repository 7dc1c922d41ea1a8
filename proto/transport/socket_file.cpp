#include "proto/transport/socket_file.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <utility>

namespace bulkhead::transport {
namespace {

constexpr std::size_t kMaxPath = sizeof(sockaddr_un::sun_path) - 1;

Code code_of(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR:
      return Code::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return Code::kPermissionDenied;
    case EMFILE:
    case ENFILE:
    case ENOMEM:
    case ENOBUFS:
    case ENOSPC:
      return Code::kResourceExhausted;
    default:
      return Code::kIoError;
  }
}

}  // namespace

Result<SocketFile> SocketFile::open(const Address& address) {
  const std::string& name = address.name;
  if (address.directory.empty() || name.empty() || name == "." || name == ".." ||
      name.find('/') != std::string::npos || name.find('\0') != std::string::npos ||
      address.directory.find('\0') != std::string::npos) {
    return fail(Code::kInvalidArgument, "'{}' in '{}' does not name a socket file", name,
                address.directory);
  }
  SocketFile file;
  file.name_ = name;
  file.directory_ =
      base::UniqueFd(::open(address.directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!file.directory_) {
    return fail(code_of(errno), "cannot open the directory of socket '{}', '{}': {}", name,
                address.directory, std::strerror(errno));
  }
  // libzmq gives a meaning to paths that begin with '@' or '*'.
  if (address.directory.front() != '/') file.path_ = "./";
  file.path_ += address.directory + '/' + name;
  if (file.path_.size() > kMaxPath) {
    file.path_ = fmt::format("/proc/self/fd/{}/{}", file.directory_.get(), name);
  }
  if (file.path_.size() > kMaxPath) {
    return fail(Code::kInvalidArgument, "the socket name '{}' is too long ({} bytes)", name,
                name.size());
  }
  return file;
}

Result<base::UniqueFd> SocketFile::listen() {
  base::UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(code_of(errno), "cannot create a socket: {}", std::strerror(errno));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  path_.copy(address.sun_path, kMaxPath);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    if (errno == EADDRINUSE) {
      return fail(Code::kInvalidArgument,
                  "the socket '{}' exists: something else listens there, or died there", path_);
    }
    return fail(code_of(errno), "cannot bind the socket '{}': {}", path_, std::strerror(errno));
  }
  struct stat status {};
  if (::fstatat(directory_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) == 0) {
    device_ = status.st_dev;
    inode_ = status.st_ino;
  }
  if (::listen(fd.get(), SOMAXCONN) != 0) {
    return fail(code_of(errno), "cannot listen on '{}': {}", path_, std::strerror(errno));
  }
  return fd;
}

SocketFile::SocketFile(SocketFile&& other) noexcept
    : directory_(std::move(other.directory_)),
      name_(std::move(other.name_)),
      path_(std::move(other.path_)),
      device_(other.device_),
      inode_(std::exchange(other.inode_, 0)) {}

SocketFile::~SocketFile() {
  struct stat status {};
  // Not what has taken its place.
  if (inode_ == 0 ||
      ::fstatat(directory_.get(), name_.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0 ||
      status.st_dev != device_ || status.st_ino != inode_) {
    return;
  }
  // A failure leaves a file in the run directory, which is removed as a whole.
  ::unlinkat(directory_.get(), name_.c_str(), 0);
}

}  // namespace bulkhead::transport
