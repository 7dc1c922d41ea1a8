// Each bug kernel is found as what it is, and its fixed version ends well on all schedules tried.
#include "tests/unit/sched/kernels/kernels.hpp"

#include <bulkhead/sched/explore.hpp>
#include <string>

#include "tests/unit/sched/sched_test.hpp"

namespace bulkhead::sched::kernels {
namespace {

std::vector<Kernel> all_kernels() {
  std::vector<Kernel> all;
  for (const auto& group : {lock_kernels(), channel_kernels(), mixed_kernels(), wait_kernels(),
                            select_kernels(), data_kernels()})
    all.insert(all.end(), group.begin(), group.end());
  return all;
}

std::string kernel_name(const testing::TestParamInfo<Kernel>& info) {
  return std::string(info.param.group) + '_' + info.param.name;
}

class KernelTest : public testing::TestWithParam<Kernel> {};

TEST_P(KernelTest, BuggyIsFound) {
  const auto finding = explore({}, GetParam().buggy);
  ASSERT_TRUE(finding.has_value()) << "not found in " << Exploration{}.schedules << " schedules";
  RecordProperty("schedules", std::to_string(finding->seed));
  EXPECT_EQ(finding->what, GetParam().what) << finding->said;
  EXPECT_NE(finding->said.find(GetParam().said), std::string::npos)
      << "seed " << finding->seed << " says\n"
      << finding->said << "after\n"
      << finding->steps;
}

TEST_P(KernelTest, FixedIsClean) {
  const auto finding = explore({.schedules = kSanitized ? 100u : 1000u}, GetParam().fixed);
  if (finding.has_value()) {
    ADD_FAILURE() << "seed " << finding->seed << ": " << finding->what << '\n'
                  << finding->said << "after\n"
                  << finding->steps;
  }
}

INSTANTIATE_TEST_SUITE_P(All, KernelTest, testing::ValuesIn(all_kernels()), kernel_name);

}  // namespace
}  // namespace bulkhead::sched::kernels
