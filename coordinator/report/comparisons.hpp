// Which rows of a report are held against each other, and what their walls say; or, of an open
// loop, whose rate settles the walls, the median latencies of their repetitions.
#pragma once

#include <bulkhead/v1/report.pb.h>

namespace bulkhead::coordinator {

// The shared-memory model that isolated ones are held against: `parallel` differs from `processes`
// in nothing but isolation; the others only stand in for it. With `measured`, one that completed a
// repetition. Never a second side.
const v1::ModelReport* baseline_of(const v1::RunReport& report, bool measured);

// Fills report.comparisons: each isolated row over the baseline, each second side over its first.
// A pair without a repetition in common has none.
void compare_rows(v1::RunReport& report);

// Of these two rows; nullptr where there is none.
const v1::Comparison* find_comparison(const v1::RunReport& report, const v1::ModelReport& upper,
                                      const v1::ModelReport& lower);

// The row of which `model` is the second side; nullptr when it is none.
const v1::ModelReport* first_side(const v1::RunReport& report, const v1::ModelReport& model);

}  // namespace bulkhead::coordinator
