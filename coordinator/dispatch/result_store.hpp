// Results of jobs as opaque bytes: a log whose tail is in memory and whose rest is in a file of the
// run directory. Memory does not grow with the number of results, only with the span of jobs that
// are under way at once.
#pragma once

#include <array>
#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::coordinator {

// Not thread-safe, not even for readers: get() keeps what it has read last.
class ResultStore {
 public:
  // `directory` gets the file (unlinked at once, so nothing can be left behind). At most
  // `memory_limit` bytes are kept in memory, as long as the disk has room.
  ResultStore(std::string directory, std::size_t memory_limit)
      : directory_(std::move(directory)),
        memory_limit_(memory_limit),
        flush_beyond_(memory_limit) {}

  // Keeps `bytes` for `job`, once. On a full disk they stay in memory.
  void put(std::uint64_t job, std::string_view bytes);
  // kIoError when the file can't be read back.
  Result<std::string> get(std::uint64_t job) const;
  bool has(std::uint64_t job) const;
  std::uint64_t spilled_bytes() const { return spilled_; }

 private:
  static constexpr std::uint64_t kBlock = 1024;  // jobs
  using Index = std::array<std::uint64_t, kBlock>;
  // Where the results of consecutive jobs are: 1 + the offset of each in the log, 0 for none yet.
  // When the last of them is there, the index itself goes into the log.
  struct Block {
    std::unique_ptr<Index> index;
    std::uint64_t present = 0;
    std::uint64_t index_at = 0;  // once all are present
  };

  std::uint64_t append(std::string_view bytes);  // its offset
  void flush();
  bool open_file();
  Result<void> read(std::uint64_t offset, std::size_t size, char* out) const;
  Result<void> read_file(std::uint64_t offset, std::size_t size, char* out) const;

  std::string directory_;
  std::size_t memory_limit_;
  std::size_t flush_beyond_;  // grows while the disk is full
  base::UniqueFd file_;
  std::uint64_t spilled_ = 0;  // bytes of the log in the file
  std::string tail_;           // the rest of it
  std::vector<Block> blocks_;

  mutable std::string window_;  // of the file, read last
  mutable std::uint64_t window_at_ = 0;
  mutable Index index_{};  // of the complete block that was read last
  mutable std::uint64_t index_of_ = UINT64_MAX;
};

}  // namespace bulkhead::coordinator
