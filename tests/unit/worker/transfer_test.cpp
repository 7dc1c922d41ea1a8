#include "transfer.hpp"

#include <gmock/gmock.h>

#include <vector>

namespace bulkhead::worker {
namespace {

using program::Value;

const int* made = nullptr;  // where the last value lay that the program made

struct Numbers {
  using Input = std::vector<int>;
  using Result = std::vector<int>;
  explicit Numbers(const program::Settings&) {}
  static Input make(int first) {
    Input numbers(100, first);
    made = numbers.data();
    return numbers;
  }
  void source(const program::Emit<Input>& emit) const {
    for (int i = 0; i < 3; ++i) emit(make(i));
  }
  Result work(const Input& input) const { return make(input[0] + 10); }
  struct Reducer {
    explicit Reducer(const Numbers&) {}
    void add(std::uint64_t, const Result*) {}
    program::Answer finish() { return {}; }
  };
};

class TransferTest : public testing::TestWithParam<const char*> {
 protected:
  const program::JobsAdapter<Numbers> program_{program::Settings({}, {}, {}, 0)};
};

INSTANTIATE_TEST_SUITE_P(Ways, TransferTest, testing::Values("copy", "encode"),
                         [](const auto& way) { return std::string(way.param); });

TEST_P(TransferTest, WhatArrivesIsEqualAndAnother) {
  const auto jobs = transferring(program_, transfer_of(GetParam()));
  std::vector<int> firsts;
  jobs->source(1, [&](const Value& input) {
    const auto& numbers = input.as<std::vector<int>>();
    EXPECT_EQ(numbers.size(), 100u);
    EXPECT_NE(numbers.data(), made);
    firsts.push_back(numbers[0]);
    const Value result = jobs->work(input, {});
    EXPECT_EQ(result.as<std::vector<int>>(), std::vector<int>(100, numbers[0] + 10));
    EXPECT_NE(result.as<std::vector<int>>().data(), made);
    return true;
  });
  EXPECT_THAT(firsts, testing::ElementsAre(1, 2));
}

// What the two are compared with.
TEST_F(TransferTest, WithoutItThePointerIsTheSame) {
  program_.source(0, [&](const Value& input) {
    EXPECT_EQ(input.as<std::vector<int>>().data(), made);
    return true;
  });
  EXPECT_EQ(transfer_of("move"), Transfer::kMove);
  EXPECT_EQ(transfer_of(""), Transfer::kMove);
}

}  // namespace
}  // namespace bulkhead::worker
