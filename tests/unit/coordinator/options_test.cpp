// The command line, word for word: each message is compared whole.
#include <fcntl.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "cli/flags.hpp"
#include "cli/values.hpp"
#include "options_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

TEST_F(OptionsTest, RunHasTheDefaultsThatItsHelpNames) {
  const auto options = parse({"run", "primes"});
  ASSERT_TRUE(options) << options.error().text;
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  const auto cores = static_cast<std::uint32_t>(CPU_COUNT(&set));
  EXPECT_EQ(options->command, Command::kRun);
  EXPECT_EQ(options->scenario, "primes");
  EXPECT_EQ(options->models, std::vector{v1::MODEL_PARALLEL});
  EXPECT_EQ(options->workers, std::min(cores, max_workers({transport::Kind::kZmqIpc})));
  EXPECT_EQ(options->processors, cores);
  EXPECT_EQ(options->in_flight, 256u);
  EXPECT_EQ(options->seed, 1u);
  EXPECT_EQ(options->max_attempts, 3u);
  EXPECT_EQ(options->rate_per_second, 0);
  EXPECT_EQ(planned(*options, "rate"), "none from default");
  EXPECT_FALSE(options->restarts);
  EXPECT_EQ(planned(*options, "restarts"), "unlimited from default");
  EXPECT_FALSE(options->timeout);
  EXPECT_EQ(options->checkpoint, std::chrono::milliseconds(100));
  EXPECT_EQ(options->repeat, 1u);
  EXPECT_FALSE(options->warm_up);
  EXPECT_FALSE(options->check);
  EXPECT_THAT(options->worker_path, testing::MatchesRegex("/.*/bulkhead-worker"));
  EXPECT_EQ(options->command_line, (std::vector<std::string>{"bulkhead", "run", "primes"}));
}

TEST_F(OptionsTest, CompareTakesTheWholeLadderFiveTimesAfterAWarmUp) {
  const auto options = parse({"compare", "primes"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->models,
            (std::vector{v1::MODEL_SEQUENTIAL, v1::MODEL_CONCURRENT, v1::MODEL_PARALLEL,
                         v1::MODEL_THREADS, v1::MODEL_PROCESSES}));
  EXPECT_EQ(options->repeat, 5u);
  EXPECT_TRUE(options->warm_up);
  EXPECT_FALSE(parse({"compare", "primes", "--repeat", "1"})->warm_up);
}

TEST_F(OptionsTest, ABenchRunsFiveTimesOnOneAndOnAllProcessors) {
  const auto options = parse({"bench", "sched"});
  ASSERT_TRUE(options) << options.error().text;
  cpu_set_t set;
  ASSERT_EQ(sched_getaffinity(0, sizeof set, &set), 0);
  const auto cores = static_cast<std::uint32_t>(CPU_COUNT(&set));
  EXPECT_EQ(options->command, Command::kBench);
  EXPECT_EQ(options->scenario, "sched");
  EXPECT_EQ(options->bench_processors, cores == 1 ? std::vector{1u} : (std::vector{1u, cores}));
  EXPECT_EQ(options->runs, 5u);
  EXPECT_TRUE(options->only.empty());
  EXPECT_THAT(options->worker_path, testing::MatchesRegex("/.*/bulkhead-worker"));
  const auto chosen =
      parse({"bench", "sched", "--only=yield,sieve", "--processors=3", "--runs=2", "--json=-"});
  ASSERT_TRUE(chosen) << chosen.error().text;
  EXPECT_EQ(chosen->only, (std::vector<std::string>{"yield", "sieve"}));
  EXPECT_EQ(chosen->bench_processors, std::vector{3u});
  EXPECT_EQ(chosen->runs, 2u);
  EXPECT_EQ(chosen->json, "-");
}

TEST_F(OptionsTest, EveryFlagArrives) {
  const auto options = parse({"compare",
                              "wordcount",
                              "--models=processes,parallel",
                              "--workers",
                              "4",
                              "--processors=8",
                              "--in-flight",
                              "32",
                              "--set",
                              "chunk=1KiB",
                              "--set=top=3",
                              "--input",
                              "/",
                              "/tmp",
                              "--input",
                              "/",
                              "--worker",
                              "w",
                              "--seed",
                              "42",
                              "--fault",
                              "segv@job=1",
                              "--fault",
                              "kill@worker=4",
                              "--max-attempts",
                              "5",
                              "--restarts",
                              "10/1500ms",
                              "--rate",
                              "30/min",
                              "--timeout",
                              "1m",
                              "--checkpoint",
                              "never",
                              "--repeat",
                              "7",
                              "--json",
                              "-",
                              "--logs",
                              "/tmp//",
                              "--check",
                              "--color",
                              "always"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->models, (std::vector{v1::MODEL_PROCESSES, v1::MODEL_PARALLEL}));
  EXPECT_EQ(options->workers, 4u);
  EXPECT_EQ(options->processors, 8u);
  EXPECT_EQ(options->in_flight, 32u);
  EXPECT_EQ(options->settings,
            (std::vector<std::pair<std::string, std::string>>{{"chunk", "1KiB"}, {"top", "3"}}));
  EXPECT_EQ(options->inputs, (std::vector<std::string>{"/", "/tmp", "/"}));
  EXPECT_EQ(options->worker_path, "./w");
  EXPECT_EQ(options->seed, 42u);
  ASSERT_EQ(options->faults.size(), 2u);
  EXPECT_EQ(options->faults[1].worker, 4u);
  EXPECT_EQ(options->max_attempts, 5u);
  EXPECT_EQ(options->timeout, std::chrono::minutes(1));
  EXPECT_FALSE(options->checkpoint);
  EXPECT_EQ(options->repeat, 7u);
  EXPECT_EQ(options->json, "-");
  EXPECT_TRUE(options->check);
  EXPECT_TRUE(options->color);
  ASSERT_TRUE(options->restarts);
  EXPECT_EQ(options->restarts->most, 10u);
  EXPECT_EQ(options->restarts->period, std::chrono::milliseconds(1500));
  EXPECT_EQ(planned(*options, "checkpoint"), "never from flag");
  EXPECT_EQ(planned(*options, "timeout"), "1m from flag");
  EXPECT_EQ(planned(*options, "restarts"), "10/1500ms from flag");
  EXPECT_EQ(planned(*options, "logs"), "/tmp from flag");
  EXPECT_DOUBLE_EQ(options->rate_per_second, 0.5);
  EXPECT_EQ(planned(*options, "rate"), "30/min from flag");
}

TEST_F(OptionsTest, AListOfInputsLeavesTheLastWordForTheScenario) {
  const auto options = parse({"run", "--input", "/", "/tmp", "wordcount"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(options->scenario, "wordcount");
  EXPECT_EQ(options->inputs, (std::vector<std::string>{"/", "/tmp"}));
}

TEST_F(OptionsTest, TheLastOfTwoValuesCounts) {
  EXPECT_EQ(parse({"run", "primes", "--workers", "2", "--workers", "3"})->workers, 3u);
}

TEST_F(OptionsTest, TheNumberOfWorkersIsBoundByTheDescriptorsHere) {
  const std::uint32_t limit = max_workers({transport::Kind::kZmqIpc});
  const std::string most = std::to_string(limit);
  EXPECT_EQ(parse({"run", "primes", "--workers", "0"}).error().text,
            "bulkhead: --workers: 0 workers: a run needs at least 1; at most " + most + " here\n");
  EXPECT_EQ(parse({"run", "primes", "--workers="}).error().text,
            "bulkhead: --workers: '' is not a whole number; write 1 to " + most + "\n");
  EXPECT_EQ(parse({"run", "primes", "--workers", "99999999999999999999"}).error().text,
            "bulkhead: --workers: 99999999999999999999 workers are more than bulkhead manages; at "
            "most " +
                most + " here\n");
  EXPECT_THAT(parse({"run", "primes", "--workers", "100000000"}).error().text,
              testing::MatchesRegex("bulkhead: --workers: 100000000 workers need 2000000064 "
                                    "descriptors, and this process may open [0-9]+; at most " +
                                    most + " here\n"));
  EXPECT_EQ(parse({"run", "primes", "--workers", most})->workers, limit);
  EXPECT_GE(max_workers({transport::Kind::kUnix, transport::Kind::kShm}), limit);
  EXPECT_EQ(max_workers({transport::Kind::kShm, transport::Kind::kZmqIpc}), limit);
}

TEST_F(OptionsTest, AtMostSixtyFourFaults) {
  std::vector<std::string> words{"run", "primes"};
  for (int i = 0; i < 64; ++i) words.insert(words.end(), {"--fault", "segv@job=1"});
  EXPECT_TRUE(parse(words));
  words.insert(words.end(), {"--fault", "segv@job=1"});
  EXPECT_EQ(parse(words).error().text, "bulkhead: --fault: 65 faults are too many; at most 64\n");
}

TEST_F(OptionsTest, ASharedMemoryModelHasAWorkerFaultHitItsOneWorker) {
  EXPECT_TRUE(parse({"run", "primes", "--workers", "2", "--fault", "kill@worker=3"}));
}

TEST_F(OptionsTest, TheEnvironmentStandsInForFlagsAndFlagsWin) {
  set("BULKHEAD_WORKERS", "3");
  set("BULKHEAD_PROCESSORS", "6");
  set("BULKHEAD_IN_FLIGHT", "9");
  set("BULKHEAD_SEED", "7");
  set("BULKHEAD_REPEAT", "2");
  set("BULKHEAD_WORKER", "mine");
  set("BULKHEAD_CHECKPOINT", "never");
  set("BULKHEAD_TIMEOUT", "30s");
  set("BULKHEAD_MAX_ATTEMPTS", "4");
  set("BULKHEAD_RESTARTS", "0/1m");
  set("BULKHEAD_LOGS", "/tmp");
  set("BULKHEAD_RATE", "1.5/s");
  set("BULKHEAD_LAUNCH", "exec");
  const auto options = parse({"compare", "primes", "--workers", "2"});
  ASSERT_TRUE(options) << options.error().text;
  EXPECT_EQ(planned(*options, "workers"), "2 from flag");
  EXPECT_EQ(planned(*options, "processors"), "6 from environment");
  EXPECT_EQ(planned(*options, "in-flight"), "9 from environment");
  EXPECT_EQ(planned(*options, "seed"), "7 from environment");
  EXPECT_EQ(planned(*options, "repeat"), "2 from environment");
  EXPECT_EQ(planned(*options, "worker"), "./mine from environment");
  EXPECT_EQ(planned(*options, "checkpoint"), "never from environment");
  EXPECT_EQ(planned(*options, "timeout"), "30s from environment");
  EXPECT_EQ(planned(*options, "max-attempts"), "4 from environment");
  EXPECT_EQ(planned(*options, "restarts"), "0/1m from environment");
  EXPECT_EQ(planned(*options, "logs"), "/tmp from environment");
  EXPECT_EQ(planned(*options, "rate"), "1.5/s from environment");
  EXPECT_EQ(planned(*options, "launch"), "exec from environment");
  EXPECT_FALSE(options->fork_workers);
  EXPECT_EQ(options->rate_per_second, 1.5);
  EXPECT_EQ(parse({"run", "primes", "--rate", "none"})->rate_per_second, 0) << "a flag wins";
  EXPECT_FALSE(parse({"run", "primes", "--restarts", "unlimited"})->restarts) << "a flag wins";
  EXPECT_EQ(planned(*options, "json"), "none from default");
  EXPECT_EQ(options->workers, 2u);
  EXPECT_EQ(options->processors, 6u);
  EXPECT_FALSE(options->checkpoint);
}

TEST_F(OptionsTest, AMistakeInTheEnvironmentNamesTheVariable) {
  set("BULKHEAD_IN_FLIGHT", "none");
  EXPECT_EQ(parse({"run", "primes"}).error().text,
            "bulkhead: BULKHEAD_IN_FLIGHT: 'none' is not a whole number; write 1 to 1000000\n");
  EXPECT_TRUE(parse({"run", "primes", "--in-flight", "1"}));
  EXPECT_TRUE(parse({"doctor"}));
}

TEST_F(OptionsTest, AnEmptyVariableIsAsGoodAsNone) {
  set("BULKHEAD_WORKERS", "");
  EXPECT_THAT(planned(*parse({"run", "primes"}), "workers"), testing::EndsWith("from default"));
}

// Standard output and standard error on a pseudo-terminal for a while.
class Terminal {
 public:
  Terminal() : master_(posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC)) {
    if (grantpt(master_) != 0 || unlockpt(master_) != 0) return;
    const int slave = open(ptsname(master_), O_RDWR | O_NOCTTY | O_CLOEXEC);
    for (int fd : {1, 2}) {
      saved_[fd - 1] = dup(fd);
      dup2(slave, fd);
    }
    close(slave);
  }
  ~Terminal() {
    for (int fd : {1, 2}) {
      dup2(saved_[fd - 1], fd);
      close(saved_[fd - 1]);
    }
    close(master_);
  }

 private:
  int master_;
  int saved_[2] = {-1, -1};
};

TEST_F(OptionsTest, ColourAndProgressFollowTheTerminalAndTheEnvironment) {
  struct Case {
    const char* name;
    const char* value;
    bool color;
    bool progress;
  };
  const Case cases[] = {{"TERM", "xterm", true, true},
                        {"NO_COLOR", "1", false, true},
                        {"NO_COLOR", "", true, true},
                        {"TERM", "dumb", false, false},
                        {"CI", "true", false, false}};
  for (const Case& one : cases) {
    setenv(one.name, one.value, 1);
    tl::expected<Options, Stop> shown = tl::unexpected<Stop>(Stop{});
    tl::expected<Options, Stop> forced = tl::unexpected<Stop>(Stop{});
    {
      const Terminal terminal;
      shown = parse({"run", "primes"});
      forced = parse({"run", "primes", "--color=always"});
    }
    unsetenv(one.name);
    ASSERT_TRUE(shown && forced);
    EXPECT_EQ(shown->color, one.color) << one.name << "=" << one.value;
    EXPECT_EQ(shown->progress, one.progress) << one.name << "=" << one.value;
    EXPECT_TRUE(forced->color);
  }
  const Terminal terminal;
  EXPECT_FALSE(parse({"run", "primes", "--color=never"})->color);
}

TEST_F(OptionsTest, DoctorAndListHaveTheirOwnFlags) {
  const auto doctor = parse({"doctor", "--json", "--require", "pidfd,perf"});
  ASSERT_TRUE(doctor) << doctor.error().text;
  EXPECT_TRUE(doctor->doctor_json);
  EXPECT_EQ(doctor->require, (std::vector<std::string>{"pidfd", "perf"}));
  EXPECT_TRUE(parse({"doctor", "--require", ""})->require.empty());
  EXPECT_EQ(parse({"list", "--worker", "/x/w"})->worker_path, "/x/w");
}

TEST_F(OptionsTest, HelpAndVersionAreEverywhere) {
  for (const std::string& command : command_names()) {
    const auto help = parse({command, "--help"});
    ASSERT_FALSE(help);
    EXPECT_EQ(help.error().code, 0);
    EXPECT_THAT(help.error().text, testing::HasSubstr("Usage: bulkhead " + command));
    EXPECT_EQ(parse({command, "--version"}).error().text,
              std::string("bulkhead ") + version() + "\n");
  }
  EXPECT_EQ(parse({"--version"}).error().text, std::string("bulkhead ") + version() + "\n");
  EXPECT_THAT(parse({"--help"}).error().text,
              testing::HasSubstr("bulkhead compare wordcount --input /usr/include"));
  EXPECT_EQ(parse({"-h"}).error().code, 0);
}

TEST_F(OptionsTest, EachHelpNamesEveryFlagFitsAScreenAndEndsWithThreeExamples) {
  for (const CommandName& command : kCommands) {
    const std::string help = help_of(command.command);
    for (const Flag& flag : flags_of(command.command)) {
      EXPECT_THAT(help, testing::HasSubstr(fmt::format("  --{} ", flag.name))) << command.name;
    }
    const std::vector<std::string> lines = split(help, '\n');
    EXPECT_LE(lines.size(), 44u) << command.name;
    for (const std::string& line : lines) EXPECT_LE(line.size(), 100u) << line;
    EXPECT_EQ(lines.back(), "");
    EXPECT_EQ(lines.at(lines.size() - 5), "Examples");
    for (std::size_t i = lines.size() - 4; i + 1 < lines.size(); ++i) {
      EXPECT_THAT(lines[i], testing::HasSubstr(std::string("bulkhead ") + command.name));
    }
  }
}

TEST_F(OptionsTest, GarbageNeverCrashesAndIsRefusedOnOneLine) {
  const std::vector<std::string> pool{
      "run",    "compare", "primes",    "--workers", "--set",     "--input", "--fault",
      "--json", "--",      "-",         "---",       "=",         "--=",     "-x=1",
      "a=b",    "1",       "0",         "",          "\x1b",      "\xff\n",  "[a,b]",
      "{}",     "--check", "--model",   "'",         "\"",        "-h=1",    "list",
      "@file",  "--seed=", "--check=1", "%s",        "segv@job=1"};
  std::mt19937 random(7);
  for (int i = 0; i < 3000; ++i) {
    std::vector<std::string> words{i % 2 == 0 ? "run" : "compare"};
    for (auto left = random() % 6; left > 0; --left) words.push_back(pool[random() % pool.size()]);
    const auto options = parse(words);
    if (options || options.error().code == 0) continue;
    const std::string& text = options.error().text;
    EXPECT_TRUE(options.error().code == kExitUsage || options.error().code == kExitEnvironment);
    EXPECT_EQ(text.rfind("bulkhead: ", 0), 0u) << text;
    EXPECT_EQ(text.find('\n'), text.size() - 1) << text;
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
  }
}

}  // namespace
}  // namespace bulkhead::coordinator
