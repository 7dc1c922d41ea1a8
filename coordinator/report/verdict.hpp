// The sentences under the table: what isolation cost, what it saved, whether the answers agree,
// and which planned faults never happened.
#pragma once

#include <bulkhead/v1/report.pb.h>

#include <cstdint>
#include <string>
#include <vector>

namespace bulkhead::coordinator {

// Reads the estimates, so they come first. Intervals of ratios are drawn from `seed`.
std::vector<std::string> verdict_sentences(const v1::RunReport& report, std::uint64_t seed);

}  // namespace bulkhead::coordinator
