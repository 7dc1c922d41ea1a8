// The directory and file of a local socket, for paths of any length.
#pragma once

#include <sys/types.h>

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <string>

namespace bulkhead::transport {

// A path that fits a socket address, and the directory's descriptor that keeps it valid: where the
// plain path is too long it leads through /proc/self/fd, so this lives as long as the socket. The
// file that it made goes with it.
class SocketFile {
 public:
  SocketFile(SocketFile&& other) noexcept;
  SocketFile& operator=(SocketFile&&) = delete;
  ~SocketFile();

  // kNotFound, kInvalidArgument, …: the directory cannot be opened, the name is none.
  static Result<SocketFile> open(const Address& address);

  const std::string& path() const { return path_; }
  std::string endpoint() const { return "ipc://" + path_; }

  // A listening socket on the path. Refuses (kInvalidArgument) a path that exists: libzmq's own
  // bind would unlink it and so steal the endpoint of a listener that lives.
  Result<base::UniqueFd> listen();

 private:
  SocketFile() = default;
  base::UniqueFd directory_;
  std::string name_;
  std::string path_;
  dev_t device_ = 0;  // of the file that listen() made; inode 0: none
  ino_t inode_ = 0;
};

}  // namespace bulkhead::transport
