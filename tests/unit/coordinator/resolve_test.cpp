// Settings against a worker's description, the plan and the list.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "cli/options.hpp"
#include "cli/values.hpp"

namespace bulkhead::coordinator {
namespace {

void add(v1::ProgramDescription* program, const char* name, v1::ParameterType type,
         const char* value, double minimum, double maximum) {
  v1::ParameterDescription* const parameter = program->add_parameters();
  parameter->set_name(name);
  parameter->set_type(type);
  parameter->set_default_value(value);
  parameter->set_help(std::string("help of ") + name);
  parameter->set_minimum(minimum);
  parameter->set_maximum(maximum);
}

v1::WorkerDescription description() {
  v1::WorkerDescription all;
  v1::ProgramDescription* const count = all.add_programs();
  count->set_name("wordcount");
  count->set_summary("counts words");
  count->set_takes_input(true);
  add(count, "chunk", v1::PARAMETER_SIZE, "262144", 1, 1073741824);
  add(count, "top", v1::PARAMETER_INTEGER, "10", 0, 1000);
  add(count, "pause", v1::PARAMETER_DURATION, "0", 0, 1e9);
  add(count, "title", v1::PARAMETER_TEXT, "words", 0, 0);
  v1::ProgramDescription* const plain = all.add_programs();
  plain->set_name("plain");
  plain->set_summary("does nothing");
  return all;
}

Options options(const char* scenario,
                std::vector<std::pair<std::string, std::string>> settings = {},
                std::vector<std::string> inputs = {}) {
  Options made;
  made.scenario = scenario;
  made.settings = std::move(settings);
  made.inputs = std::move(inputs);
  return made;
}

TEST(ResolveTest, FillsInDefaultsAndWritesCanonicalText) {
  const auto settings = resolve_settings(
      options("wordcount", {{"chunk", "1.5MiB"}, {"pause", "5ms"}, {"title", "a=b"}}, {"/tmp"}),
      description());
  ASSERT_TRUE(settings) << settings.error().text;
  EXPECT_EQ(*settings,
            (std::map<std::string, std::string>{
                {"chunk", "1572864"}, {"pause", "5000000"}, {"title", "a=b"}, {"top", "10"}}));
}

TEST(ResolveTest, TheLastOfTwoSettingsCounts) {
  const auto settings = resolve_settings(
      options("wordcount", {{"top", "1"}, {"top", "007"}}, {"/tmp"}), description());
  ASSERT_TRUE(settings) << settings.error().text;
  EXPECT_EQ(settings->at("top"), "7");
}

TEST(ResolveTest, EveryMistakeSaysWhatWouldBeRight) {
  struct Case {
    Options options;
    const char* message;
  };
  const Case cases[] = {
      {options("wordcout"),
       "bulkhead: unknown program 'wordcout'; did you mean 'wordcount'? programs: wordcount, "
       "plain\n"},
      {options("zzz"), "bulkhead: unknown program 'zzz'; programs: wordcount, plain\n"},
      {options("wordcount", {{"chnk", "1"}}, {"/tmp"}),
       "bulkhead: --set: wordcount has no setting 'chnk'; did you mean 'chunk'? settings: chunk, "
       "top, pause, title\n"},
      {options("plain", {{"top", "1"}}), "bulkhead: --set: plain has no settings, so no 'top'\n"},
      {options("wordcount", {{"chunk", "64KB"}}, {"/tmp"}),
       "bulkhead: --set chunk: '64KB': unknown unit 'KB'; units: B, kB, KiB, MB, MiB, GB, GiB\n"},
      {options("wordcount", {{"chunk", "0"}}, {"/tmp"}),
       "bulkhead: --set chunk: '0' is out of range; write 1B to 1GiB\n"},
      {options("wordcount", {{"top", "many"}}, {"/tmp"}),
       "bulkhead: --set top: 'many' is not a whole number; write 0 to 1000\n"},
      {options("wordcount", {{"top", "-1"}}, {"/tmp"}),
       "bulkhead: --set top: '-1' is out of range; write 0 to 1000\n"},
      {options("wordcount", {{"pause", "5"}}, {"/tmp"}),
       "bulkhead: --set pause: 5: a duration needs a unit: write 5ms or 5s\n"},
      {options("wordcount", {{"pause", "2s"}}, {"/tmp"}),
       "bulkhead: --set pause: '2s' is out of range; write 0s to 1s\n"},
      {options("wordcount"),
       "bulkhead: wordcount needs something to read; add --input PATH, a file or folder\n"},
      {options("plain", {}, {"/tmp"}),
       "bulkhead: plain reads no input; leave out --input '/tmp'\n"},
  };
  for (const Case& one : cases) {
    const auto settings = resolve_settings(one.options, description());
    ASSERT_FALSE(settings) << one.message;
    EXPECT_EQ(settings.error().code, kExitUsage);
    EXPECT_EQ(settings.error().text, one.message);
  }
}

TEST(ResolveTest, FindsAProgramByItsName) {
  const auto all = description();
  EXPECT_EQ(find_program(all, "plain"), &all.programs(1));
  EXPECT_EQ(find_program(all, "none"), nullptr);
}

TEST(ResolveTest, ThePlanIsAlignedAndNamesEachSource) {
  Options given = options("wordcount", {{"top", "3"}});
  for (const auto& [name, value, source] :
       {std::array{"workers", "4", "environment"}, std::array{"set", "top=3", "flag"}}) {
    auto& entry = given.plan.emplace_back();
    entry.set_name(name);
    entry.set_value(value);
    entry.set_source(source);
  }
  EXPECT_EQ(render_plan(given, {{"chunk", "262144"}, {"top", "3"}}),
            "workers    4       environment\n"
            "set chunk  262144  default\n"
            "set top    3       flag\n");
}

TEST(ResolveTest, TheListShowsSettingsWithDefaultsAndRanges) {
  const std::string list = render_list(description());
  EXPECT_THAT(list, testing::StartsWith(
                        "programs\n"
                        "  wordcount    counts words\n"
                        "      --input PATH...     needed\n"
                        "      --set chunk=256KiB         help of chunk (size 1B to 1GiB)\n"
                        "      --set top=10               help of top (number 0 to 1000)\n"
                        "      --set pause=0s             help of pause (duration 0s to 1s)\n"
                        "      --set title=words          help of title (text)\n"
                        "  plain        does nothing\n"
                        "models\n"));
  EXPECT_THAT(list, testing::HasSubstr("  processes "));
  // Where a fault comes from differs: in the job itself, or from outside as a signal.
  EXPECT_THAT(
      list,
      testing::EndsWith(
          "  oom            everything at risk     what one worker has at risk\n"
          "      allocates beyond --worker-memory; verdict limit\n"
          "where\n"
          "  KIND@job=N[,times=K]       job N, the first K times it runs\n"
          "  KIND@rate=P                a share P of all jobs, drawn from the seed, each once\n"
          "  KIND@worker=N[,after=T]    worker N, T after all workers are ready: segv and kill as "
          "a\n"
          "                             signal from outside, the others in the next job it "
          "begins\n"));
}

TEST(ResolveTest, ControlCharactersOfADescriptionStayOffTheTerminal) {
  v1::WorkerDescription all;
  all.add_programs()->set_name("evil\x1b[2J");
  EXPECT_EQ(render_list(all).find('\x1b'), std::string::npos);
  const auto settings = resolve_settings(options("evl\x1b"), all);
  ASSERT_FALSE(settings);
  EXPECT_EQ(settings.error().text.find('\x1b'), std::string::npos);
}

TEST(ValuesTest, DurationsAndSizesReadTheirUnits) {
  EXPECT_EQ(parse_duration("1.5s")->count(), 1'500'000'000);
  EXPECT_EQ(parse_duration("2h")->count(), 7'200'000'000'000);
  EXPECT_EQ(parse_duration("3us")->count(), 3000);
  EXPECT_EQ(*parse_size("64kB"), 64'000u);
  EXPECT_EQ(*parse_size("1GiB"), 1073741824u);
  EXPECT_EQ(*parse_size("12"), 12u);
  EXPECT_FALSE(parse_duration(".5s"));
  EXPECT_FALSE(parse_duration("1e3s"));
  EXPECT_FALSE(parse_duration("99999999999999999999h"));
  EXPECT_FALSE(parse_size("-1B"));
  EXPECT_FALSE(parse_size(std::string(400, '9')));
  EXPECT_EQ(format_duration(std::chrono::milliseconds(1500)), "1500ms");
  EXPECT_EQ(format_size(262144), "256KiB");
}

TEST(ValuesTest, OnlyANearWordIsSuggested) {
  EXPECT_EQ(nearest("compair", {"run", "compare"}), "compare");
  EXPECT_EQ(nearest("rnu", {"run", "compare"}), "run");
  EXPECT_EQ(nearest("xyz", {"run", "compare"}), "");
  EXPECT_EQ(nearest("", {"a"}), "");
}

}  // namespace
}  // namespace bulkhead::coordinator
