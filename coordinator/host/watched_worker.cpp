#include "host/watched_worker.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace bulkhead::coordinator {

Result<base::UniqueFd> PipeReader::open() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail(Code::kResourceExhausted, "no pipe for a worker's output: {}",
                std::strerror(errno));
  fd_ = base::UniqueFd(ends[0]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);  // the worker's end stays an ordinary, blocking one
  return base::UniqueFd(ends[1]);
}

void PipeReader::read_some() {
  char buffer[16u << 10];
  for (int round = 0; round < 16 && fd_; ++round) {
    const ssize_t size = ::read(fd_.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) return close();
    const auto count = static_cast<std::size_t>(size);
    if (keep_ == Keep::kHead) {
      kept_.append(buffer, std::min(count, limit_ - kept_.size()));
    } else {
      kept_.append(buffer, count);
      // Cut seldom, so that a flood costs no quadratic copying.
      if (kept_.size() > 16 * limit_) kept_.erase(0, kept_.size() - limit_);
    }
  }
}

std::string PipeReader::take() {
  if (kept_.size() > limit_) kept_.erase(0, kept_.size() - limit_);
  return std::move(kept_);
}

}  // namespace bulkhead::coordinator
