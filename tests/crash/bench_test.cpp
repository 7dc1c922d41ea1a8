// `bulkhead bench`: a row of each kind is run in earnest; how fast it is is of no interest here.
#include <signal.h>

#include <fstream>
#include <map>
#include <regex>
#include <set>
#include <sstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

class BenchTest : public CommandTest {
 protected:
  // The worker's own list, as the refusal of an unknown row tells it.
  std::set<std::string> rows_of_the_worker(const std::string& bench) {
    const Outcome outcome = bulkhead({"bench", bench, "--only", "nonesuch"});
    EXPECT_EQ(outcome.exit_code, 2);
    EXPECT_EQ(outcome.out, "");
    std::smatch found;
    EXPECT_TRUE(std::regex_search(outcome.err, found,
                                  std::regex("--only: unknown row 'nonesuch'; rows: (.*)\n")))
        << outcome.err;
    const std::string list = found[1];
    const std::regex comma(", ");
    return {std::sregex_token_iterator(list.begin(), list.end(), comma, -1),
            std::sregex_token_iterator()};
  }
};

TEST_F(BenchTest, OneRunOfOneRowIsOneFigureInJson) {
  const Outcome outcome = bulkhead(
      {"bench", "sched", "--only", "yield", "--processors", "1", "--runs", "1", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  const Json report = Json::parse(outcome.out);
  EXPECT_EQ(report["bench"], "sched");
  EXPECT_EQ(report["failures"], Json::array());
  EXPECT_NE(report["machine"]["cpu"], "");
  ASSERT_EQ(report["rows"].size(), 1u) << outcome.out;
  const Json& row = report["rows"][0];
  EXPECT_EQ(row["name"], "yield");
  EXPECT_EQ(row["params"], "procs=1 tasks=2");
  EXPECT_EQ(row["unit"], "ns/yield");
  ASSERT_EQ(row["runs"].size(), 1u);
  EXPECT_GT(row["runs"][0], 0);
  EXPECT_EQ(row["median"], row["runs"][0]);
  EXPECT_FALSE(row.contains("low")) << "an interval of a single run";
}

TEST_F(BenchTest, TheTableShowsTheRow) {
  const Outcome outcome =
      bulkhead({"bench", "sched", "--only", "ring503", "--processors", "1", "--runs", "1"});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_TRUE(std::regex_search(outcome.out, std::regex("\nring503 +procs=1 .* ns/pass +1\n")))
      << outcome.out;
}

TEST_F(BenchTest, AnUnknownRowIsRefusedWithANearOne) {
  const Outcome outcome = bulkhead({"bench", "sched", "--only", "yield,seive"});
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_EQ(outcome.out, "");
  EXPECT_NE(outcome.err.find("unknown row 'seive'; did you mean 'sieve'?"), std::string::npos)
      << outcome.err;
}

TEST_F(BenchTest, TheHelpListsTheRowsOfTheWorker) {
  const Outcome help = bulkhead({"bench", "--help"});
  ASSERT_EQ(help.exit_code, 0);
  std::istringstream lines(help.out.substr(help.out.find("\nRows")));
  std::map<std::string, std::set<std::string>> told;  // by bench
  std::string bench;
  std::string line;
  std::getline(lines, line);  // the end of the line before
  std::getline(lines, line);  // "Rows, …"
  while (std::getline(lines, line) && !line.empty()) {
    if (line.front() != ' ') {
      bench = line.substr(0, line.find(','));
      continue;
    }
    std::istringstream names(line.substr(0, line.find("  ", 2)));  // then what they are about
    for (std::string name; names >> name;) told[bench].insert(name);
  }
#if !__has_include(<bulkhead/sched/select.hpp>)
  told["sched"].erase("select4");
#endif
  EXPECT_EQ(told["sched"], rows_of_the_worker("sched"));
  EXPECT_EQ(told["ipc"], rows_of_the_worker("ipc"));
  EXPECT_EQ(told.size(), 2u);
}

// Each of the ways, with both parties on one CPU, which every machine has.
TEST_F(BenchTest, EachWayOfAMessageHasItsFigures) {
  const Outcome outcome = bulkhead({"bench", "ipc", "--all-sizes", "--processors", "1", "--runs",
                                    "1", "--json", path("ipc.json")});
  ASSERT_EQ(outcome.exit_code, 0) << outcome.err << outcome.out;
  const Json report = Json::parse(std::ifstream(path("ipc.json")));
  EXPECT_EQ(report["bench"], "ipc");
  EXPECT_EQ(report["failures"], Json::array());
  std::map<std::string, double> figures;
  for (const Json& row : report["rows"])
    figures[row["name"].get<std::string>() + ' ' + row["params"].get<std::string>()] =
        row["median"];
  for (const std::string& way : rows_of_the_worker("ipc")) {
    for (const char* const size : {"8", "64", "1024", "65536", "1048576"}) {
      const auto figure = [&](const std::string& what) {
        const std::string name = way + '.' + what + " procs=1 size=" + size;
        EXPECT_EQ(figures.count(name), 1u) << name;
        return figures[name];
      };
      EXPECT_LE(figure("trip"), figure("trip_p90"));
      EXPECT_LE(figure("trip_p90"), figure("trip_p99"));
      EXPECT_GT(figure("trip_cpu"), 0);
      EXPECT_GT(figure("one_way"), 0);
      EXPECT_GT(figure("one_way_cpu"), 0);
      // A line of the table has them all.
      EXPECT_TRUE(std::regex_search(outcome.out,
                                    std::regex("\n" + way + " +procs=1 size=" + size + " +[0-9]")))
          << outcome.out;
    }
  }
}

TEST_F(BenchTest, AnInterruptShowsWhatThereIsAndLeavesNoWorker) {
  const pid_t pid = start({"bench", "sched", "--processors", "1", "--runs", "1000"});
  // Only a worker that runs the row has its name in the command line.
  EXPECT_TRUE(eventually([&] { return !marked("yield").empty(); })) << said();
  kill(pid, SIGINT);
  const Outcome outcome = finish(pid);
  EXPECT_EQ(outcome.exit_code, 130) << outcome.err;
  EXPECT_NE(outcome.out.find("bench sched, INTERRUPTED"), std::string::npos) << outcome.out;
}

}  // namespace
}  // namespace bulkhead::test
