// Command lines as the tests of the options give them, in an environment of their own.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <string>
#include <utility>
#include <vector>

#include "cli/options.hpp"

namespace bulkhead::coordinator {

inline tl::expected<Options, Stop> parse(std::vector<std::string> words) {
  words.insert(words.begin(), "bulkhead");
  std::vector<const char*> argv;
  for (const std::string& word : words) argv.push_back(word.c_str());
  return parse_command_line(static_cast<int>(argv.size()), argv.data());
}

// Clears what the command reads, restores it at the end.
class OptionsTest : public testing::Test {
 protected:
  void SetUp() override {
    for (char** entry = environ; *entry != nullptr; ++entry) {
      const std::string text = *entry;
      const std::string name = text.substr(0, text.find('='));
      if (name.rfind("BULKHEAD_", 0) == 0 || name == "NO_COLOR" || name == "TERM" || name == "CI") {
        saved_.emplace_back(name, text.substr(name.size() + 1));
      }
    }
    for (const auto& [name, value] : saved_) unsetenv(name.c_str());
  }
  void TearDown() override {
    for (const std::string& name : set_) unsetenv(name.c_str());
    for (const auto& [name, value] : saved_) setenv(name.c_str(), value.c_str(), 1);
  }

  void set(const char* name, const char* value) {
    set_.emplace_back(name);
    setenv(name, value, 1);
  }

  std::string planned(const Options& options, const std::string& name) {
    for (const auto& entry : options.plan) {
      if (entry.name() == name) return entry.value() + " from " + entry.source();
    }
    return "not planned";
  }

  std::vector<std::pair<std::string, std::string>> saved_;
  std::vector<std::string> set_;
};

}  // namespace bulkhead::coordinator
