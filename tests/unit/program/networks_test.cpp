// The built-in networks: as they come, every interleaving tried ends well; with a fault set, some
// do not, and as what they are.
#include <gtest/gtest.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/sanitizers.hpp>
#include <bulkhead/program/network.hpp>
#include <bulkhead/sched/explore.hpp>
#include <map>
#include <string>

namespace bulkhead::program {
namespace {

#if defined(BULKHEAD_TSAN) || defined(BULKHEAD_ASAN)
constexpr std::uint64_t kSchedules = 100;
#else
constexpr std::uint64_t kSchedules = 1000;
#endif

using Values = std::map<std::string, std::string>;

const NetworkRegistration& network(const std::string& name) {
  const NetworkRegistration* const found = find_network(name);
  BULKHEAD_CHECK(found != nullptr, "no network '{}' is linked into this test", name);
  return *found;
}

sched::Search search(const std::string& name, const Values& values,
                     const sched::Exploration& exploration) {
  const Settings settings(network(name).description, values, {});
  return sched::search(exploration, [&] { run_checked(network(name), settings); });
}

// Random choices, and priorities of this depth over schedules of the length that random ones have.
std::vector<sched::Exploration> strategies(const std::string& name, const Values& values) {
  const sched::Search measured = search(name, values, {.schedules = 10, .first_seed = 0});
  return {{.schedules = kSchedules},
          {.schedules = kSchedules, .depth = 3, .steps = measured.longest}};
}

std::string as_name(std::string text) {
  for (char& c : text) c = c == '-' ? '_' : c;
  return text;
}

class RightNetworkTest : public testing::TestWithParam<const char*> {};

TEST_P(RightNetworkTest, EndsWellInAllSchedules) {
  for (const sched::Exploration& strategy : strategies(GetParam(), {})) {
    const sched::Search search_made = search(GetParam(), {}, strategy);
    EXPECT_EQ(search_made.schedules, kSchedules);
    EXPECT_GT(search_made.longest, 10u) << "nothing of it is interleaved";
    if (search_made.finding) {
      ADD_FAILURE() << "depth " << strategy.depth << ", seed " << search_made.finding->seed << ": "
                    << search_made.finding->what << '\n'
                    << search_made.finding->said << search_made.finding->steps;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(All, RightNetworkTest,
                         testing::Values("bank", "dining-philosophers", "prime-sieve"),
                         [](const auto& test) { return as_name(test.param); });

struct Faulty {
  const char* network;
  Values values;
  sched::BadEnd kind;
  const char* said;
};

class FaultyNetworkTest : public testing::TestWithParam<Faulty> {};

TEST_P(FaultyNetworkTest, IsFoundAsWhatItIsAndItsSeedIsTheSameRun) {
  const Faulty& faulty = GetParam();
  for (const sched::Exploration& strategy : strategies(faulty.network, faulty.values)) {
    const auto finding = search(faulty.network, faulty.values, strategy).finding;
    ASSERT_TRUE(finding.has_value()) << "not found at depth " << strategy.depth;
    EXPECT_EQ(finding->kind, faulty.kind) << finding->what << finding->said;
    EXPECT_NE(finding->said.find(faulty.said), std::string::npos) << finding->said;

    const Settings settings(network(faulty.network).description, faulty.values, {});
    const auto program = [&] { run_checked(network(faulty.network), settings); };
    const sched::Trace first = sched::trace(strategy, finding->seed, program);
    ASSERT_TRUE(first.finding.has_value());
    EXPECT_EQ(first.finding->what, finding->what);
    EXPECT_EQ(first.finding->said, finding->said);
    EXPECT_TRUE(first.steps.ends_with(finding->steps)) << first.steps << finding->steps;
    EXPECT_EQ(first.steps, sched::trace(strategy, finding->seed, program).steps);
  }
}

INSTANTIATE_TEST_SUITE_P(
    All, FaultyNetworkTest,
    testing::Values(
        Faulty{
            "dining-philosophers", {{"order", "naive"}}, sched::BadEnd::kDeadlock, "parked, mutex"},
        Faulty{"bank", {{"locking", "opposite"}}, sched::BadEnd::kDeadlock, "parked, mutex"},
        Faulty{"bank", {{"locking", "none"}}, sched::BadEnd::kWrongAnswer, "expected: total 300"},
        Faulty{"prime-sieve",
               {{"sending", "tries"}},
               sched::BadEnd::kWrongAnswer,
               "expected: primes up to 13: 2 3 5 7 11 13"}),
    [](const auto& test) {
      return as_name(std::string(test.param.network) + "_" + test.param.values.begin()->second);
    });

TEST(NetworksTest, AWordThatASettingDoesNotKnowIsRefused) {
  for (const auto& [name, setting] : std::map<std::string, std::string>{
           {"bank", "locking"}, {"dining-philosophers", "order"}, {"prime-sieve", "sending"}}) {
    const Settings settings(network(name).description, {{setting, "hopeful"}}, {});
    EXPECT_THROW(network(name).make(settings), std::invalid_argument) << name;
  }
}

TEST(NetworksTest, WithoutAnExpectedAnswerAnyWillDo) {
  struct Anything {
    explicit Anything(const Settings&) {}
    Answer run() { return {"1", "one"}; }
  };
  const Settings settings({.name = "anything", .summary = "", .parameters = {}}, {}, {});
  EXPECT_FALSE(NetworkAdapter<Anything>(settings).expected().has_value());
  const NetworkRegistration registration{
      {}, [](const Settings& s) { return std::make_unique<NetworkAdapter<Anything>>(s); }};
  EXPECT_FALSE(sched::explore({.schedules = 3}, [&] { run_checked(registration, settings); }));
}

TEST(NetworksDeathTest, ANameIsGivenOnce) {
  const auto called = [](const char* name) {
    Description description;
    description.name = name;
    return description;
  };
  EXPECT_DEATH(register_network({called("bank"), {}}), "two programs are called 'bank'");
  EXPECT_DEATH(register_network({called("primes"), {}}), "two programs are called 'primes'");
  EXPECT_DEATH(register_program({called("bank"), {}}), "two programs are called 'bank'");
}

}  // namespace
}  // namespace bulkhead::program
