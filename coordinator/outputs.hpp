// Files that a program writes (settings of type output). Each incarnation writes to a place of its
// own in the run directory; what the first complete run wrote is kept, and goes to the place that
// the user named only when the command has come to one whole answer.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <map>
#include <set>
#include <string>

#include "cli/options.hpp"

namespace bulkhead::coordinator {

using SettingValues = std::map<std::string, std::string>;

// The settings that name a file to write.
std::set<std::string> outputs_of(const v1::ProgramDescription& program,
                                 const SettingValues& settings);
// Stop with kExitEnvironment for one that could never be written.
tl::expected<void, Stop> check_outputs(const std::set<std::string>& outputs,
                                       const SettingValues& settings);

class OutputFiles {
 public:
  // What a complete run wrote, by setting. All but the first are removed.
  void take(const std::map<std::string, std::string>& files);
  // Into the user's places, each in one step. Stop for the first that can't be.
  tl::expected<void, Stop> place(const std::set<std::string>& outputs,
                                 const SettingValues& settings) const;

 private:
  std::map<std::string, std::string> kept_;
};

}  // namespace bulkhead::coordinator
