// The order of a bench's runs, and what is made of the words of workers, which a script plays.
#include "bench.hpp"

#include <signal.h>

#include <nlohmann/json.hpp>

#include "host_fixture.hpp"

namespace bulkhead::coordinator {
namespace {

using Json = nlohmann::json;
using ::testing::ElementsAre;
using ::testing::EndsWith;

class BenchTest : public HostTest {
 protected:
  ~BenchTest() override { sigprocmask(SIG_SETMASK, &mask_before_, nullptr); }

  // A worker that lists `rows`, and does `script` for the row $ROW on $P processors, told its
  // $TURN.
  void write_worker(const std::string& rows, const std::string& script) {
    options_.worker_path = directory_ + "/worker";
    std::ofstream file(options_.worker_path);
    file << "#!/bin/sh\n"
         << "if [ $1 = --describe ]; then exec " << BULKHEAD_TEST_WORKER << " --describe; fi\n"
         << "if [ $# = 2 ]; then echo '{\"rows\": [" << rows << "]}'; exit; fi\n"
         << "ROW=$3 P=$4\n"
         << "echo \"$ROW on $P\" >> " << directory_ << "/log\n"
         << "TURN=$(grep -c \"^$ROW on $P$\" " << directory_ << "/log)\n"
         << script << "\n";
    file.close();
    std::filesystem::permissions(options_.worker_path, std::filesystem::perms::owner_all);
  }

  // The exit code, and the report.
  std::pair<int, Json> run() {
    Interrupts interrupts;
    options_.command = Command::kBench;
    options_.scenario = "sched";
    options_.json = directory_ + "/report.json";
    const int code = bench(options_, *host_, interrupts);
    std::ifstream file(options_.json);
    return {code, file ? Json::parse(file) : Json()};
  }

  std::vector<std::string> log() const {
    std::ifstream file(directory_ + "/log");
    std::vector<std::string> lines;
    for (std::string line; std::getline(file, line);) lines.push_back(line);
    return lines;
  }

  Options options_;

 private:
  static sigset_t current_mask() {
    sigset_t mask;
    sigprocmask(SIG_BLOCK, nullptr, &mask);
    return mask;
  }
  const sigset_t mask_before_ = current_mask();  // Interrupts blocks signals
};

constexpr const char* kFigure =
    R"(echo "{\"figures\": [{\"name\": \"$ROW\", \"params\": \"procs=$P\", \"unit\": \"ns\",
                            \"value\": $TURN}]}")";

TEST_F(BenchTest, RowsTakeTurnsAndEverySecondRoundGoesBackwards) {
  write_worker(R"("a", "b", "c")", kFigure);
  options_.only = {"c", "a"};
  options_.bench_processors = {1, 2};
  options_.runs = 3;
  const auto [code, report] = run();
  EXPECT_EQ(code, kExitDone);
  EXPECT_THAT(log(), ElementsAre("a on 1", "a on 2", "c on 1", "c on 2",  //
                                 "c on 2", "c on 1", "a on 2", "a on 1",  //
                                 "a on 1", "a on 2", "c on 1", "c on 2"));
  ASSERT_EQ(report["rows"].size(), 4u);
  EXPECT_EQ(report["rows"][3], Json({{"name", "c"},
                                     {"params", "procs=2"},
                                     {"unit", "ns"},
                                     {"median", 2.0},
                                     {"runs", {1.0, 2.0, 3.0}}}));
}

TEST_F(BenchTest, FiveRunsHaveAnInterval) {
  write_worker(R"("a")", kFigure);
  options_.bench_processors = {1};
  const auto [code, report] = run();
  EXPECT_EQ(code, kExitDone);
  const Json& row = report["rows"][0];
  EXPECT_EQ(row["median"], 3);
  EXPECT_LT(row["low"], 3);
  EXPECT_GT(row["high"], 3);
}

TEST_F(BenchTest, ARunWithoutFiguresIsToldAndTheOthersCount) {
  write_worker(R"("good", "exits", "babbles", "odd")", std::string(R"(
case $ROW$TURN in
  exits1) echo early >&2; echo 'no luck' >&2; exit 3;;
  babbles*) echo '{"figures": 7}'; exit;;
  odd*) echo '{"figures": [{"name": "odd", "value": "NaN"}]}'; exit;;
esac
)") + kFigure);
  options_.bench_processors = {1};
  options_.runs = 2;
  const auto [code, report] = run();
  EXPECT_EQ(code, kExitUnfinished);
  ASSERT_EQ(report["rows"].size(), 2u);
  EXPECT_EQ(report["rows"][0]["runs"], Json({1.0, 2.0}));
  EXPECT_EQ(report["rows"][1]["runs"], Json({2.0})) << "of the row that exited once";
  ASSERT_EQ(report["failures"].size(), 5u);
  EXPECT_EQ(report["failures"][0]["row"], "exits");
  EXPECT_EQ(report["failures"][0]["run"], 1);
  EXPECT_EQ(report["failures"][0]["reason"], "ended with code 3: no luck");
  EXPECT_EQ(report["failures"][1]["reason"], "printed words that are no figures");
  EXPECT_EQ(report["failures"][2]["row"], "odd");
}

TEST_F(BenchTest, AWorkerWithoutRowsIsRefused) {
  write_worker("", "exit 1");
  options_.bench_processors = {1};
  testing::internal::CaptureStderr();
  const auto [code, report] = run();
  EXPECT_THAT(testing::internal::GetCapturedStderr(),
              EndsWith("listed its benches in words that are no list\n"));
  EXPECT_EQ(code, kExitEnvironment);
  EXPECT_TRUE(report.is_null());
}

}  // namespace
}  // namespace bulkhead::coordinator
