#include "host/log_file.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bulkhead::coordinator {

LogFile::LogFile(std::string path) : path_(std::move(path)) {
  // What can't be taken away is met again, and told, when there is something to write.
  static_cast<void>(::unlink(path_.c_str()));
}

std::optional<std::string> LogFile::path() const {
  return made_ ? std::optional(path_) : std::nullopt;
}

Result<void> LogFile::append(std::string_view bytes) {
  if (path_.empty() || failed_ || bytes.empty()) return {};
  if (!made_) {
    // No link is followed and no FIFO waited for, whoever put it there since.
    fd_ = base::UniqueFd(::open(
        path_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666));
    if (!fd_) return give_up("made", errno);
    made_ = true;
  }
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd_.get(), bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return give_up("written", errno);
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return {};
}

Result<void> LogFile::give_up(const char* what, int error_number) {
  failed_ = true;
  fd_.reset();
  return fail(Code::kIoError, "the log '{}' cannot be {}: {}", wire::printable(path_, 400), what,
              std::strerror(error_number));
}

}  // namespace bulkhead::coordinator
