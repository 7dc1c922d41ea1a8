// What is going on, on standard error: a line that moves on a terminal, one line a phase elsewhere.
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
