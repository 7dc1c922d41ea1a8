// What the command prints when all is well, word for word, and the names of its report: scripts and
// habits rely on both. BULKHEAD_UPDATE_GOLDEN=1 writes the files anew.
#include <cstdlib>
#include <fstream>
#include <regex>
#include <set>
#include <sstream>

#include "support/command.hpp"

namespace bulkhead::test {
namespace {

using Json = nlohmann::json;

// Every field as "path: type"; the elements of an array are one.
void list_fields(const Json& value, const std::string& path, std::set<std::string>& fields) {
  if (value.is_object()) {
    for (const auto& [name, inner] : value.items()) {
      list_fields(inner, path.empty() ? name : path + "." + name, fields);
    }
  } else if (value.is_array()) {
    fields.insert(path + ": array");
    for (const Json& inner : value) list_fields(inner, path + "[]", fields);
  } else {
    fields.insert(path + ": " + value.type_name());
  }
}

class CliTest : public CommandTest {
 protected:
  static void same_as_golden(const std::string& text, const std::string& name) {
    const std::string file = std::string(BULKHEAD_SOURCE_DIR) + "/tests/golden/" + name + ".txt";
    if (std::getenv("BULKHEAD_UPDATE_GOLDEN") != nullptr) std::ofstream(file) << text;
    std::ostringstream golden;
    golden << std::ifstream(file).rdbuf();
    EXPECT_EQ(text, golden.str()) << file;
  }
};

TEST_F(CliTest, HelpAndListReadAsTheyDid) {
  const std::vector<std::pair<std::string, std::vector<std::string>>> pages{
      {"cli_help", {"--help"}},
      {"cli_run_help", {"run", "--help"}},
      {"cli_compare_help", {"compare", "--help"}},
      {"cli_bench_help", {"bench", "--help"}},
      {"cli_explore_help", {"explore", "--help"}},
      {"cli_version", {"--version"}},
      {"cli_list", {"list"}}};
  for (const auto& [name, arguments] : pages) {
    const Outcome outcome = bulkhead(arguments);
    EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
    EXPECT_EQ(outcome.err, "");
    same_as_golden(outcome.out, name);
  }
}

TEST_F(CliTest, ThePlanNamesEveryValueAndItsSourceAndStartsNothing) {
  environment_["BULKHEAD_WORKERS"] = "7";
  const Outcome outcome = bulkhead({"compare", "primes", "--check", "--seed", "5", "--processors",
                                    "8", "--fault", "segv@job=3,times=2", "--set", "jobs=10"});
  EXPECT_EQ(outcome.exit_code, 0) << outcome.err;
  EXPECT_EQ(outcome.err, "");
  // Where the build is, and how wide that made the columns, is of no interest.
  std::string text =
      std::regex_replace(outcome.out, std::regex("/\\S*/bulkhead-worker"), "/…/bulkhead-worker");
  text = std::regex_replace(text, std::regex("  +"), "  ");
  same_as_golden(text, "cli_check");
}

TEST_F(CliTest, TheReportHasItsContractedNamesAndTypes) {
  const Outcome outcome = bulkhead({"compare", "primes", "--set", "up-to=1000000", "--models",
                                    "sequential,parallel,processes", "--workers", "2", "--repeat",
                                    "5", "--fault", "segv@job=3,times=99", "--json", "-"});
  ASSERT_EQ(outcome.exit_code, 1) << outcome.err;
  std::set<std::string> fields;
  list_fields(report(outcome), "", fields);
  // How a worker leaves at the end of a run depends on the machine; this one exits in mid-job.
  const Outcome left = bulkhead({"run", "napper", "--worker", kTestWorker, "--set", "bad=exit",
                                 "--model", "processes", "--workers", "2", "--json", "-"});
  ASSERT_EQ(left.exit_code, 1) << left.err;
  list_fields(report(left), "", fields);
  std::string text;
  for (const std::string& field : fields) text += field + "\n";
  same_as_golden(text, "cli_report_fields");
}

}  // namespace
}  // namespace bulkhead::test
