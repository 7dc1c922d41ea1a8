// Results of jobs as opaque bytes: in memory up to a limit, beyond it in a file of the run
// directory.
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cstdint>
#include <string>
#include <vector>

namespace bulkhead::coordinator {

class ResultStore {
 public:
  // `directory` gets the spill file (unlinked at once, so nothing can be left behind).
  ResultStore(std::string directory, std::size_t memory_limit)
      : directory_(std::move(directory)), memory_limit_(memory_limit) {}

  // Keeps `bytes` for `job`, once. On a full disk they stay in memory.
  void put(std::uint64_t job, std::string bytes);
  // kIoError when the spill file can't be read back.
  Result<std::string> get(std::uint64_t job) const;
  bool has(std::uint64_t job) const { return job < entries_.size() && entries_[job].present; }
  std::uint64_t size_of(std::uint64_t job) const { return entries_[job].size; }
  std::uint64_t spilled_bytes() const { return spilled_bytes_; }

 private:
  struct Entry {
    std::string bytes;
    std::uint64_t offset = 0;  // in the spill file, when `spilled`
    std::uint64_t size = 0;
    bool present = false;
    bool spilled = false;
  };
  bool spill(const std::string& bytes);

  std::string directory_;
  std::size_t memory_limit_;
  std::size_t memory_bytes_ = 0;
  std::uint64_t spilled_bytes_ = 0;
  base::UniqueFd file_;
  std::vector<Entry> entries_;
};

}  // namespace bulkhead::coordinator
