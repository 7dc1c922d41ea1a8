#include "dispatch/result_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bulkhead::coordinator {

void ResultStore::put(std::uint64_t job, std::string bytes) {
  if (entries_.size() <= job) entries_.resize(job + 1);
  Entry& entry = entries_[job];
  BULKHEAD_CHECK(!entry.present, "job {} has a result already", job);
  entry.present = true;
  entry.size = bytes.size();
  if (memory_bytes_ + bytes.size() > memory_limit_ && spill(bytes)) {
    entry.spilled = true;
    entry.offset = spilled_bytes_;
    spilled_bytes_ += bytes.size();
    return;
  }
  memory_bytes_ += bytes.size();
  entry.bytes = std::move(bytes);
}

bool ResultStore::spill(const std::string& bytes) {
  if (!file_)
    file_ = base::UniqueFd(open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (!file_) {  // a file system without O_TMPFILE
    std::string path = directory_ + "/results-XXXXXX";
    file_ = base::UniqueFd(mkostemp(path.data(), O_CLOEXEC));
    if (!file_) return false;
    unlink(path.c_str());
  }
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t wrote = pwrite(file_.get(), bytes.data() + done, bytes.size() - done,
                                 static_cast<off_t>(spilled_bytes_ + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) return false;
    done += static_cast<std::size_t>(wrote);
  }
  return true;
}

Result<std::string> ResultStore::get(std::uint64_t job) const {
  BULKHEAD_CHECK(has(job), "job {} has no result", job);
  const Entry& entry = entries_[job];
  if (!entry.spilled) return entry.bytes;
  std::string bytes(entry.size, '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = pread(file_.get(), bytes.data() + done, bytes.size() - done,
                              static_cast<off_t>(entry.offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return fail(Code::kIoError, "reading spilled results in {}: {}", directory_,
                  got == 0 ? "the file is shorter than it was" : std::strerror(errno));
    }
    done += static_cast<std::size_t>(got);
  }
  return bytes;
}

}  // namespace bulkhead::coordinator
