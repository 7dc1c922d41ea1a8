// The program `mandelbrot` (see mandelbrot.cpp).
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "program/hash.hpp"

namespace bulkhead::program {

struct MandelbrotInput {
  std::uint32_t first = 0;  // row, counted from the top
  std::uint32_t rows = 0;
  BULKHEAD_FIELDS(first, rows)
};

struct MandelbrotResult {
  std::vector<std::uint8_t> pixels;  // row by row; 0: in the set, else how fast the point left it
  BULKHEAD_FIELDS(pixels)
};

class Mandelbrot {
 public:
  using Input = MandelbrotInput;
  using Result = MandelbrotResult;

  static Description describe();
  explicit Mandelbrot(const Settings& settings);

  void source(const Emit<Input>& emit) const;
  Result work(const Input& input) const;

  // Holds the whole image only where a file is wanted: at most 256 MiB.
  class Reducer {
   public:
    explicit Reducer(const Mandelbrot& program);
    void add(std::uint64_t job, const Result* result);
    Answer finish();

   private:
    const Mandelbrot& program_;
    Digest digest_;
    std::uint64_t inside_ = 0;
    std::uint64_t missing_rows_ = 0;
    std::vector<std::uint8_t> image_;  // empty: no file is wanted
  };

 private:
  std::uint32_t rows_of(std::uint64_t job) const;  // of the last band there may be fewer
  std::uint8_t pixel(double real, double imaginary) const;

  const std::uint32_t size_;
  const std::uint32_t rows_;
  const std::uint32_t iterations_;
  const std::string out_;  // empty: none
};

}  // namespace bulkhead::program
