// A short-lived process of ours: launched like any worker, alone, with a deadline, its standard
// output kept.
#pragma once

#include <google/protobuf/message.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"
#include "interrupts.hpp"

namespace bulkhead::coordinator {

struct Errand {
  std::string executable;
  std::vector<std::string> arguments;
  base::Duration deadline{};
};

struct ErrandEnd {
  std::string output;            // at most 1 MiB
  std::string aside;             // the end of what it said on standard error, any bytes
  std::string failure;           // empty: it ended with code 0; else completes "the process …"
  std::optional<int> exit_code;  // where it exited, and was not killed
  bool launched = true;
  bool late = false;         // killed at the deadline
  bool interrupted = false;  // killed for a new interrupt
};

// Blocks until it is gone. One that a signal ended, perhaps a stranger's, is started again, three
// times in all; so is one whose launcher died.
ErrandEnd run_errand(Host& host, Interrupts& interrupts, const Errand& errand);

// The last line of what one said aside, fit to be shown.
std::string last_line(std::string_view aside);

// What one printed as JSON. Fields that are not ours are left out; false: it is none.
bool parse_json(const std::string& output, google::protobuf::Message& message);

}  // namespace bulkhead::coordinator
