// The program `wordcount` (see wordcount.cpp).
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "program/file_walk.hpp"
#include "program/word_table.hpp"

namespace bulkhead::program {

// The bytes [offset, offset + length) of a file that the source saw with this size and time.
struct Piece {
  std::string path;
  std::uint64_t offset = 0;
  std::uint64_t length = 0;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
  BULKHEAD_FIELDS(path, offset, length, size, modified_ns)
};

struct WordcountInput {
  std::vector<Piece> pieces;
  std::vector<SkippedPath> skipped;  // passed on to the reducer
  BULKHEAD_FIELDS(pieces, skipped)
};

struct WordcountResult {
  std::uint64_t files = 0;  // those whose first byte is in this job, and empty ones
  std::uint64_t words = 0;
  WordTable table;
  std::vector<SkippedPath> skipped;
  BULKHEAD_FIELDS(files, words, table, skipped)
};

class Wordcount {
 public:
  using Input = WordcountInput;
  using Result = WordcountResult;

  static Description describe();
  explicit Wordcount(const Settings& settings);

  void source(const Emit<Input>& emit) const;
  // Throws std::runtime_error naming the file that is no longer what the source saw.
  Result work(const Input& input) const;

  class Reducer {
   public:
    explicit Reducer(const Wordcount& program) : top_(program.top_) {}
    void add(std::uint64_t job, const Result* result);
    Answer finish();

   private:
    std::string checksum() const;
    std::string most_frequent() const;

    const std::size_t top_;
    std::uint64_t files_ = 0;
    std::uint64_t words_ = 0;
    WordTable table_;
    std::uint64_t missing_ = 0;
    std::uint64_t skipped_ = 0;
    std::uint64_t skipped_sum_ = 0;  // over all names, in no order
    std::vector<SkippedPath> first_skipped_;
  };

 private:
  const std::vector<std::string> inputs_;
  const std::uint64_t chunk_;
  const std::size_t top_;
};

}  // namespace bulkhead::program
