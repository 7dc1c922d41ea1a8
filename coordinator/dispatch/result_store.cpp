#include "dispatch/result_store.hpp"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstring>
#include <utility>

namespace bulkhead::coordinator {
namespace {
constexpr std::uint64_t kWindow = 64u << 10;

std::string_view bytes_of(const auto& value) {
  return {reinterpret_cast<const char*>(&value), sizeof value};
}
}  // namespace

void ResultStore::put(std::uint64_t job, std::string_view bytes) {
  BULKHEAD_CHECK(!has(job), "job {} has a result already", job);
  if (blocks_.size() <= job / kBlock) blocks_.resize(job / kBlock + 1);
  Block& block = blocks_[job / kBlock];
  if (!block.index) block.index = std::make_unique<Index>();
  const std::uint64_t size = bytes.size();
  (*block.index)[job % kBlock] = 1 + append(bytes_of(size));
  append(bytes);
  if (++block.present == kBlock) {
    block.index_at = append(bytes_of(*block.index));
    block.index.reset();
  }
  if (tail_.size() > flush_beyond_) flush();
}

std::uint64_t ResultStore::append(std::string_view bytes) {
  const std::uint64_t offset = spilled_ + tail_.size();
  tail_.append(bytes);
  return offset;
}

bool ResultStore::open_file() {
  if (file_) return true;
  file_ = base::UniqueFd(open(directory_.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  if (file_) return true;
  std::string path = directory_ + "/results-XXXXXX";  // a file system without O_TMPFILE
  file_ = base::UniqueFd(mkostemp(path.data(), O_CLOEXEC));
  if (file_) unlink(path.c_str());
  return static_cast<bool>(file_);
}

void ResultStore::flush() {
  std::size_t done = 0;
  while (open_file() && done < tail_.size()) {
    const ssize_t wrote = pwrite(file_.get(), tail_.data() + done, tail_.size() - done,
                                 static_cast<off_t>(spilled_ + done));
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) break;
    done += static_cast<std::size_t>(wrote);
  }
  if (done < tail_.size()) {  // all of it stays where it is, to be tried again when there is more
    flush_beyond_ = tail_.size() + memory_limit_;
    return;
  }
  spilled_ += tail_.size();
  if (tail_.capacity() > 2 * memory_limit_) tail_ = {};  // after a large one
  tail_.clear();
  flush_beyond_ = memory_limit_;
}

bool ResultStore::has(std::uint64_t job) const {
  if (job / kBlock >= blocks_.size()) return false;
  const Block& block = blocks_[job / kBlock];
  return block.present == kBlock || (block.index && (*block.index)[job % kBlock] != 0);
}

Result<std::string> ResultStore::get(std::uint64_t job) const {
  BULKHEAD_CHECK(has(job), "job {} has no result", job);
  const Block& block = blocks_[job / kBlock];
  if (!block.index && index_of_ != job / kBlock) {
    index_of_ = UINT64_MAX;
    auto* const index = reinterpret_cast<char*>(index_.data());
    if (auto got = read(block.index_at, sizeof index_, index); !got)
      return tl::unexpected(got.error());
    index_of_ = job / kBlock;
  }
  const std::uint64_t offset = (block.index ? *block.index : index_)[job % kBlock] - 1;
  std::uint64_t size = 0;
  if (auto got = read(offset, sizeof size, reinterpret_cast<char*>(&size)); !got)
    return tl::unexpected(got.error());
  std::string bytes(size, '\0');
  if (auto got = read(offset + sizeof size, size, bytes.data()); !got)
    return tl::unexpected(got.error());
  return bytes;
}

Result<void> ResultStore::read(std::uint64_t offset, std::size_t size, char* out) const {
  if (offset >= spilled_) {  // what was appended between two flushes is never split
    tail_.copy(out, size, offset - spilled_);
    return {};
  }
  const std::uint64_t begin = offset / kWindow * kWindow;
  if (offset + size > begin + kWindow) return read_file(offset, size, out);
  const std::uint64_t end = std::min(begin + kWindow, spilled_);
  if (window_at_ != begin || offset + size > begin + window_.size()) {
    window_.resize(end - begin);
    window_at_ = begin;
    if (auto filled = read_file(begin, end - begin, window_.data()); !filled) {
      window_.clear();
      return filled;
    }
  }
  window_.copy(out, size, offset - begin);
  return {};
}

Result<void> ResultStore::read_file(std::uint64_t offset, std::size_t size, char* out) const {
  std::size_t done = 0;
  while (done < size) {
    const ssize_t got =
        pread(file_.get(), out + done, size - done, static_cast<off_t>(offset + done));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      return fail(Code::kIoError, "reading spilled results in {}: {}", directory_,
                  got == 0 ? "the file is shorter than it was" : std::strerror(errno));
    }
    done += static_cast<std::size_t>(got);
  }
  return {};
}

}  // namespace bulkhead::coordinator
