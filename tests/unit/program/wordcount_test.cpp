// wordcount against a reference that reads whole files and knows nothing of pieces.
#include "program/wordcount.hpp"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <grp.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <random>
#include <sstream>
#include <stdexcept>

#include "tests/support/run_program.hpp"

namespace bulkhead::program {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

using Counts = std::map<std::string, std::uint64_t>;

Counts reference(const std::string& content) {
  Counts counts;
  std::string word;
  for (const char c : content + " ") {
    if (std::string(" \t\n\v\f\r").find(c) == std::string::npos) {
      word += c;
    } else if (!word.empty()) {
      ++counts[word];
      word.clear();
    }
  }
  return counts;
}

struct Outcome {
  std::uint64_t files = 0;
  std::uint64_t words = 0;
  Counts counts;
  std::vector<SkippedPath> skipped;
};

Wordcount make(const std::vector<std::string>& inputs, std::uint64_t chunk) {
  return Wordcount(Settings(Wordcount::describe(), {{"chunk", std::to_string(chunk)}}, inputs));
}

std::vector<WordcountInput> jobs_of(const Wordcount& program) {
  std::vector<WordcountInput> jobs;
  program.source([&](WordcountInput input) {
    jobs.push_back(std::move(input));
    return true;
  });
  return jobs;
}

Outcome outcome_of(const Wordcount& program) {
  Outcome outcome;
  for (const WordcountInput& job : jobs_of(program)) {
    const WordcountResult result = program.work(job);
    outcome.files += result.files;
    outcome.words += result.words;
    for (std::size_t i = 0; i < result.table.size(); ++i)
      outcome.counts[std::string(result.table.word(i))] += result.table.count(i);
    for (const SkippedPath& skipped : result.skipped) outcome.skipped.push_back(skipped);
  }
  return outcome;
}

class WordcountTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string name = testing::TempDir() + "/wordcount-XXXXXX";
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    root_ = fs::canonical(name).string();
    ASSERT_EQ(::chmod(root_.c_str(), 0755), 0);
  }
  void TearDown() override { fs::remove_all(root_); }

  std::string at(const std::string& name) const { return root_ + "/" + name; }
  std::string write(const std::string& name, const std::string& content) const {
    fs::create_directories(fs::path(at(name)).parent_path());
    std::ofstream(at(name), std::ios::binary) << content;
    return at(name);
  }
  Outcome count(std::uint64_t chunk) const { return outcome_of(make({root_}, chunk)); }

  std::string root_;
};

std::string thrown_by(const Wordcount& program, const WordcountInput& job) {
  try {
    program.work(job);
  } catch (const std::runtime_error& error) {
    return error.what();
  }
  return "nothing";
}

TEST_F(WordcountTest, AgreesWithTheReferenceWhateverTheChunk) {
  std::mt19937_64 random(11);
  Counts expected;
  std::uint64_t files = 0;
  const auto add = [&](const std::string& name, const std::string& content) {
    write(name, content);
    ++files;
    for (const auto& [word, count] : reference(content)) expected[word] += count;
  };
  add("empty", "");
  add("spaces", " \t\n\v\f\r ");
  add("one", "x");
  add("no newline", "the last word");
  add("sub/dir/all spaces", "a\tb\nc\vd\fe\rf  g");
  add("long", "short " + std::string(700, 'w') + " short");
  add("binary", std::string("\0\x01\xff \0 \x85\xa0 \0", 10));
  add(std::string("not-utf8-\xff\xfe"), "named in bytes");
  add("new\nline", "in a name");
  for (int i = 0; i < 12; ++i) {
    std::string content;
    for (std::uint64_t left = random() % 400; left > 0; --left)
      content += "abAB \n\t\xc3\x00x"[random() % 10];
    add("random" + std::to_string(i), content);
  }
  std::uint64_t words = 0;
  for (const auto& [word, count] : expected) words += count;

  const std::string checksum = test::run_program("wordcount", {}, {root_}).checksum;
  for (const std::uint64_t chunk : {1U, 2U, 3U, 7U, 64U, 1000U, 262144U}) {
    const Outcome outcome = count(chunk);
    EXPECT_EQ(outcome.files, files) << chunk;
    EXPECT_EQ(outcome.words, words) << chunk;
    EXPECT_EQ(outcome.counts, expected) << chunk;
    EXPECT_TRUE(outcome.skipped.empty()) << chunk;
    EXPECT_EQ(test::run_program("wordcount", {{"chunk", std::to_string(chunk)}}, {root_}).checksum,
              checksum)
        << chunk;
  }
}

// Blocks are 64 KiB: words and spaces on both sides of their edges, in pieces larger than a block.
TEST_F(WordcountTest, WordsAcrossTheEdgesOfBlocksStayWhole) {
  std::mt19937_64 random(12);
  std::string content;
  while (content.size() < 400'000)
    content += std::string(1 + random() % 300, static_cast<char>('a' + random() % 3)) +
               std::string(1 + random() % 3, ' ');
  write("file", content);
  const Counts expected = reference(content);
  for (const std::uint64_t chunk : {4096U, 65'536U, 65'537U, 150'000U, 1'000'000U})
    EXPECT_EQ(count(chunk).counts, expected) << chunk;
}

TEST_F(WordcountTest, AWordTooLongToKeepIsCountedOnceAndToldFromOthers) {
  const std::string kept(WordTable::kLongestWord, 'k');
  const std::string lengthy(200'000, 'k');
  write("a", kept + " " + lengthy + " end");
  write("b", lengthy + "\n" + lengthy + "x");
  const std::string checksum = test::run_program("wordcount", {}, {root_}).checksum;
  for (const std::uint64_t chunk : {999U, 4096U, 70'000U, 1'000'000U}) {
    const Outcome outcome = count(chunk);
    EXPECT_EQ(outcome.words, 5U);
    EXPECT_EQ(outcome.counts.size(), 4U);
    EXPECT_EQ(outcome.counts.at(kept), 1U);
    EXPECT_EQ(outcome.counts.at("end"), 1U);
    EXPECT_EQ(test::run_program("wordcount", {{"chunk", std::to_string(chunk)}}, {root_}).checksum,
              checksum);
  }
}

TEST_F(WordcountTest, SmallFilesShareAJobAndALargeOneIsCut) {
  for (int i = 0; i < 50; ++i) write("small" + std::to_string(i), "a b c");
  EXPECT_EQ(jobs_of(make({root_}, 262'144)).size(), 1U);
  const std::string large = write("large", std::string(100'000, 'x'));
  EXPECT_EQ(jobs_of(make({large}, 10'000)).size(), 10U);
}

TEST_F(WordcountTest, EveryPathCountsOnceAndLinksCountPerPath) {
  const std::string file = write("d/file", "one two");
  fs::create_hard_link(file, at("d/hard"));
  fs::create_symlink(file, at("d/soft"));
  const std::vector<std::string> overlapping = {root_, root_ + "/",         at("d"),      file,
                                                file,  at("d/../d/./file"), at("d//hard")};
  const Outcome outcome = outcome_of(make(overlapping, 100));
  EXPECT_EQ(outcome.files, 3U);
  EXPECT_EQ(outcome.words, 6U);
}

TEST_F(WordcountTest, OnlyDirectoryLoopsAreCutAndAreNamed) {
  write("d/file", "one");
  fs::create_directory_symlink(root_, at("d/up"));
  fs::create_directory_symlink(at("d"), at("other"));  // no loop: other paths to the same files
  const Outcome outcome = count(100);
  EXPECT_EQ(outcome.files, 2U);
  ASSERT_EQ(outcome.skipped.size(), 2U);
  EXPECT_EQ(outcome.skipped[0].path, at("d/up"));
  EXPECT_THAT(outcome.skipped[0].reason, HasSubstr("directory loop"));

  // A loop that is an input of its own is walked once more, from there.
  EXPECT_EQ(outcome_of(make({root_, at("d/up")}, 100)).files, 4U);
}

TEST_F(WordcountTest, WhatIsNoFileIsNamedAndNeverOpened) {
  write("file", "word");
  ASSERT_EQ(::mkfifo(at("fifo").c_str(), 0644), 0);
  fs::create_symlink(at("fifo"), at("link to fifo"));
  fs::create_symlink(at("nowhere"), at("broken"));
  fs::create_symlink("self", at("self"));
  const Outcome outcome = outcome_of(make({root_, "/dev/null", at("missing")}, 100));
  EXPECT_EQ(outcome.files, 1U);
  std::map<std::string, std::string> reasons;
  for (const SkippedPath& skipped : outcome.skipped) reasons[skipped.path] = skipped.reason;
  EXPECT_EQ(reasons[at("fifo")], "FIFO");
  EXPECT_EQ(reasons[at("link to fifo")], "FIFO");
  EXPECT_EQ(reasons[at("broken")], "broken symbolic link");
  EXPECT_THAT(reasons[at("self")], HasSubstr("symbolic links"));
  EXPECT_EQ(reasons["/dev/null"], "character device");
  EXPECT_THAT(reasons[at("missing")], HasSubstr("No such file"));
  EXPECT_EQ(reasons.size(), 6U);
  EXPECT_THAT(test::run_program("wordcount", {}, {root_}).text,
              testing::AllOf(HasSubstr("not counted: 4\n"), HasSubstr(at("fifo") + ": FIFO\n")));
}

TEST_F(WordcountTest, FilesThatTellNoSizeAreNamed) {
  const Outcome outcome = outcome_of(make({"/proc/self/status"}, 100));
  EXPECT_EQ(outcome.files, 0U);
  ASSERT_EQ(outcome.skipped.size(), 1U);
  EXPECT_THAT(outcome.skipped[0].reason, HasSubstr("tells no size"));
}

// In a child: root may read everything, so it becomes nobody first.
TEST_F(WordcountTest, UnreadableFilesAndDirectoriesAreNamed) {
  ASSERT_EQ(::chmod(write("secret", "word").c_str(), 0), 0);
  write("closed/file", "word");
  write("open", "word");
  ASSERT_EQ(::chmod(at("closed").c_str(), 0), 0);
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    constexpr uid_t kNobody = 65534;
    if (::geteuid() == 0 &&
        (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0))
      ::_exit(2);
    const Outcome outcome = count(100);
    const bool right = outcome.files == 1 && outcome.skipped.size() == 2 &&
                       outcome.skipped[0].path == at("closed") &&
                       outcome.skipped[1].path == at("secret") &&
                       outcome.skipped[1].reason == "Permission denied";
    ::_exit(right ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ::chmod(at("closed").c_str(), 0755);
  EXPECT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 0);
}

TEST_F(WordcountTest, AFileThatIsNoLongerTheSameFailsItsJobByName) {
  const std::string file = write("file", "some words");
  const Wordcount program = make({file}, 100);
  const std::vector<WordcountInput> jobs = jobs_of(program);
  ASSERT_EQ(jobs.size(), 1U);
  EXPECT_EQ(thrown_by(program, jobs[0]), "nothing");

  write("file", "some more words");
  EXPECT_THAT(thrown_by(program, jobs[0]),
              testing::AllOf(HasSubstr(file), HasSubstr("from 10 to 15 bytes")));
  write("file", "SOME WORDS");
  const timespec times[2] = {{1, 0}, {1, 0}};
  ASSERT_EQ(::utimensat(AT_FDCWD, file.c_str(), times, 0), 0);
  EXPECT_THAT(thrown_by(program, jobs[0]), testing::AllOf(HasSubstr(file), HasSubstr("modified")));
  fs::remove(file);
  EXPECT_THAT(thrown_by(program, jobs[0]), testing::AllOf(HasSubstr(file), HasSubstr("vanished")));
  ASSERT_EQ(::mkfifo(file.c_str(), 0644), 0);
  EXPECT_THAT(thrown_by(program, jobs[0]), HasSubstr("became a FIFO"));
}

TEST_F(WordcountTest, ASourceThatGoesOnFromAJobYieldsTheSameJobs) {
  for (int i = 0; i < 20; ++i)
    write("f" + std::to_string(i), std::string(50, static_cast<char>('a' + i)));
  const auto program = test::make_program("wordcount", {{"chunk", "64"}}, {root_});
  const std::vector<std::string> all = test::encoded_inputs(*program);
  ASSERT_GT(all.size(), 10U);
  for (std::size_t from = 0; from <= all.size(); ++from)
    EXPECT_EQ(test::encoded_inputs(*program, from),
              std::vector<std::string>(all.begin() + static_cast<std::ptrdiff_t>(from), all.end()));
  std::size_t taken = 0;
  program->source(0, [&](Value) { return ++taken < 3; });
  EXPECT_EQ(taken, 3U);
}

TEST_F(WordcountTest, TheAnswerListsTheMostFrequentWordsTiesInByteOrder) {
  write("file", "b a b c a d");
  EXPECT_EQ(test::run_program("wordcount", {{"top", "3"}}, {root_}).text,
            "files: 1\nwords: 6\ndistinct words: 4\n"
            "         2  a\n         2  b\n         1  c\n");
}

TEST_F(WordcountTest, AMissingJobIsToldAndChangesTheChecksum) {
  write("a", "one");
  write("b", "two");
  const auto program = test::make_program("wordcount", {{"chunk", "1"}}, {root_});
  const Answer whole = test::run_program(*program);
  const Answer gapped = test::run_program(*program, {0});
  EXPECT_THAT(whole.text, Not(HasSubstr("missing")));
  EXPECT_THAT(gapped.text, HasSubstr("jobs missing: 1"));
  EXPECT_NE(whole.checksum, gapped.checksum);
}

TEST_F(WordcountTest, ControlBytesInNamesDoNotBreakTheAnswersLines) {
  fs::create_symlink("nowhere", at("a\nb\x1b"));
  EXPECT_THAT(test::run_program("wordcount", {}, {root_}).text, HasSubstr("a\\x0ab\\x1b: broken"));
}

TEST(WordTableTest, GarbageIsRefused) {
  WordTable table;
  table.add("word", 3);
  table.add("other", 1);
  const std::string bytes = encode_value(table);
  const Result<WordTable> back = decode_value<WordTable>(bytes);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->word(0), "word");
  EXPECT_EQ(back->count(0), 3U);
  for (std::size_t size = 0; size < bytes.size(); ++size)
    EXPECT_FALSE(decode_value<WordTable>(std::string_view(bytes).substr(0, size)).has_value());
  EXPECT_FALSE(decode_value<WordTable>(std::string("\x01\x00\x01", 3)).has_value());   // no letters
  EXPECT_FALSE(decode_value<WordTable>(std::string("\x01\x01w\x00", 4)).has_value());  // no times
}

TEST(WordTableTest, MergingAddsUpAfterManyGrowths) {
  std::map<std::string, std::uint64_t> expected;
  WordTable total;
  std::mt19937_64 random(3);
  for (int round = 0; round < 20; ++round) {
    WordTable part;
    for (int i = 0; i < 3000; ++i) {
      std::string word = std::to_string(random() % 20'000);
      if (i % 5 == 0) word = std::string(1 + random() % 40, 'x') + word;
      part.add(word, 1);
      ++expected[word];
    }
    part.shrink();
    total.merge(part);
    total.shrink();
  }
  ASSERT_EQ(total.size(), expected.size());
  for (std::size_t i = 0; i < total.size(); ++i)
    EXPECT_EQ(total.count(i), expected[std::string(total.word(i))]);
}

}  // namespace
}  // namespace bulkhead::program
