// The program `requests` (see requests.cpp).
#pragma once

#include <bulkhead/program/jobs.hpp>
#include <chrono>
#include <cstdint>

namespace bulkhead::program {

class Requests {
 public:
  using Input = std::uint64_t;   // the number of the request
  using Result = std::uint64_t;  // what was computed for it

  static Description describe();
  explicit Requests(const Settings& settings);

  void source(const Emit<Input>& emit) const;
  Result work(const Input& input) const;

  class Reducer {
   public:
    explicit Reducer(const Requests& program) : program_(program) {}
    void add(std::uint64_t job, const Result* result);
    Answer finish();

   private:
    const Requests& program_;
    std::uint64_t hash_ = 0;
    std::uint64_t answered_ = 0;
    std::uint64_t missing_ = 0;
  };

 private:
  const std::uint64_t count_;
  const std::chrono::nanoseconds wait_;
  const std::uint64_t iterations_;  // of one request
};

}  // namespace bulkhead::program
