// The program `primes` (see primes.cpp).
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <cstdint>
#include <mutex>
#include <vector>

namespace bulkhead::program {

struct PrimesInput {
  std::uint64_t low = 0;  // the numbers in [low, high)
  std::uint64_t high = 0;
  BULKHEAD_FIELDS(low, high)
};

struct PrimesResult {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;      // modulo 2^64
  std::uint64_t largest = 0;  // 0: none
  BULKHEAD_FIELDS(count, sum, largest)
};

class Primes {
 public:
  using Input = PrimesInput;
  using Result = PrimesResult;

  static Description describe();
  explicit Primes(const Settings& settings);

  void source(const Emit<Input>& emit) const;
  Result work(const Input& input) const;

  class Reducer {
   public:
    explicit Reducer(const Primes& program) : up_to_(program.up_to_) {}
    void add(std::uint64_t job, const Result* result);
    Answer finish();

   private:
    std::uint64_t up_to_;
    Result total_;
    std::uint64_t missing_ = 0;
  };

 private:
  const std::vector<std::uint32_t>& base_primes() const;

  const std::uint64_t up_to_;
  const std::uint64_t jobs_;
  // Filled on first use.
  mutable std::once_flag base_once_;
  mutable std::vector<std::uint32_t> base_;
};

}  // namespace bulkhead::program
