// What is going on: a line on standard error that moves, on a terminal only.
#pragma once

#include <cstdint>
#include <string>

namespace bulkhead::coordinator {

class Progress {
 public:
  explicit Progress(bool live, const char* noun = "jobs") : live_(live), noun_(noun) {}
  bool live() const { return live_; }

  void begin(const std::string& phase);
  void update(std::uint64_t done, std::uint64_t known);  // of what the noun names
  void end();

 private:
  bool live_;
  const char* noun_;  // in the plural
  std::string phase_;
};

}  // namespace bulkhead::coordinator
