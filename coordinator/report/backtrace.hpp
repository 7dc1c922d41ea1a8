// Backtraces of crashes for people: each different one once, its innermost frames alone.
#pragma once

#include <bulkhead/v1/report.pb.h>

#include <set>
#include <string>

namespace bulkhead::coordinator {

// Of one report; asked for one crash after the other.
class BacktraceListing {
 public:
  // Lines to follow the crash's own; empty when there is no backtrace, when it was shown before, or
  // when enough others were.
  std::string render(const v1::WorkerExit& exit);
  // Different backtraces that were not shown.
  int left_out() const { return left_out_; }

 private:
  std::set<std::string> seen_;
  int left_out_ = 0;
};

// A function's name without parameters and what compilers add: "ns::Work<int>::run".
std::string short_name(const std::string& symbol);

}  // namespace bulkhead::coordinator
