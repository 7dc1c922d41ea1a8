// The sentences under the table: what isolation cost, what it saved, whether the answers agree,
// and which planned faults never happened.
#pragma once

#include <bulkhead/v1/report.pb.h>

#include <string>
#include <vector>

namespace bulkhead::coordinator {

// Reads the estimates and the comparisons, so they come first.
std::vector<std::string> verdict_sentences(const v1::RunReport& report);

}  // namespace bulkhead::coordinator
