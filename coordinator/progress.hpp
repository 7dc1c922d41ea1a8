// What is going on: a line on standard error that moves, on a terminal only.
#pragma once

#include <cstdint>
#include <string>

namespace bulkhead::coordinator {

class Progress {
 public:
  explicit Progress(bool live) : live_(live) {}
  bool live() const { return live_; }

  void begin(const std::string& phase);
  void update(std::uint64_t done, std::uint64_t known);  // jobs
  void end();

 private:
  bool live_;
  std::string phase_;
};

}  // namespace bulkhead::coordinator
