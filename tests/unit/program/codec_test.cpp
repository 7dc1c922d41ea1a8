#include <gtest/gtest.h>

#include <bulkhead/program/codec.hpp>
#include <cstdint>
#include <deque>
#include <limits>
#include <map>
#include <optional>
#include <random>
#include <set>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

namespace bulkhead::program {
namespace {

enum class Colour : std::uint8_t { kRed = 1, kBlue = 200 };

struct Inner {
  std::int32_t number = 0;
  std::optional<std::string> name;
  BULKHEAD_FIELDS(number, name)
  bool operator==(const Inner&) const = default;
};

struct Everything {
  bool yes = false;
  std::int64_t low = 0;
  std::uint64_t high = 0;
  double real = 0;
  float small = 0;
  Colour colour = Colour::kRed;
  std::string text;
  std::vector<Inner> inner;
  std::vector<bool> bits;
  std::vector<unsigned char> raw;
  std::map<std::string, std::vector<std::uint16_t>> map;
  std::unordered_map<std::string, std::int8_t> hashed;
  std::set<int> set;
  std::pair<int, std::string> pair;
  std::tuple<char, std::deque<int>> tuple;
  std::array<std::uint32_t, 3> array{};
  BULKHEAD_FIELDS(yes, low, high, real, small, colour, text, inner, bits, raw, map, hashed, set,
                  pair, tuple, array)
  bool operator==(const Everything&) const = default;
};

struct Tree {
  std::vector<Tree> children;
  BULKHEAD_FIELDS(children)
};

Everything example() {
  return {true,
          std::numeric_limits<std::int64_t>::min(),
          std::numeric_limits<std::uint64_t>::max(),
          -0.1,
          2.5F,
          Colour::kBlue,
          std::string("a\0\xff", 3),
          {{-1, std::nullopt}, {1 << 30, ""}, {-(1 << 30), "name"}},
          {true, false, true},
          {0, 255, 128},
          {{"", {}}, {"x", {0, 65535}}},
          {{"p", -128}, {"q", 127}},
          {-3, 0, 3},
          {-7, "seven"},
          {'c', {1, -2}},
          {1, 2, 4294967295}};
}

template <class T>
void expect_round_trip(const T& value) {
  const Result<T> back = decode_value<T>(encode_value(value));
  ASSERT_TRUE(back.has_value()) << back.error().text;
  EXPECT_EQ(*back, value);
}

template <class T>
void expect_refused(std::string_view bytes) {
  const Result<T> value = decode_value<T>(bytes);
  ASSERT_FALSE(value.has_value());
  EXPECT_EQ(value.error().code, Code::kProtocolError);
}

TEST(CodecTest, EveryReadyTypeComesBackEqual) {
  expect_round_trip(example());
  expect_round_trip(Everything{});
}

TEST(CodecTest, NumbersComeBackAtEveryLengthOfAVarint) {
  for (unsigned shift = 0; shift < 64; ++shift) {
    const std::uint64_t power = std::uint64_t{1} << shift;
    for (const std::uint64_t number : {power - 1, power, power + 1}) {
      expect_round_trip(number);
      expect_round_trip(static_cast<std::int64_t>(number));
    }
  }
  EXPECT_EQ(encode_value(std::uint64_t{300}), "\xac\x02");
  EXPECT_EQ(encode_value(std::int64_t{-1}), "\x01");
}

TEST(CodecTest, EveryTruncationAndEveryTrailingByteIsAnError) {
  const std::string bytes = encode_value(example());
  for (std::size_t size = 0; size < bytes.size(); ++size)
    expect_refused<Everything>(std::string_view(bytes).substr(0, size));
  expect_refused<Everything>(bytes + '\0');
}

TEST(CodecTest, NumbersOutsideTheirTypeAreRefused) {
  expect_refused<bool>("\x02");
  expect_refused<std::uint8_t>(encode_value(std::uint64_t{256}));
  expect_refused<std::int8_t>(encode_value(std::int64_t{-129}));
  expect_refused<std::uint64_t>("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02");
  expect_refused<std::uint64_t>(std::string("\x80\x00", 2));  // a longer form of zero
}

TEST(CodecTest, AKeyThatComesTwiceIsRefused) {
  using Pairs = std::vector<std::pair<std::string, int>>;
  const std::string bytes = encode_value(Pairs{{"a", 1}, {"a", 2}});
  expect_refused<std::map<std::string, int>>(bytes);
  expect_refused<std::unordered_map<std::string, int>>(bytes);
  expect_refused<std::set<int>>(encode_value(std::vector<int>{4, 4}));
}

TEST(CodecTest, ALengthBeyondTheBytesAllocatesNothing) {
  Writer writer;
  writer.varint(std::uint64_t{1} << 62);
  const std::string bytes = writer.take() + "abc";
  expect_refused<std::string>(bytes);
  expect_refused<std::vector<unsigned char>>(bytes);
  expect_refused<std::vector<std::string>>(bytes);
  expect_refused<std::map<std::string, std::string>>(bytes);
}

TEST(CodecTest, NestingIsBoundedOnBothSides) {
  expect_refused<Tree>(std::string(1'000'000, '\x01'));
  Tree tree;
  Tree* leaf = &tree;
  for (unsigned i = 0; i < kMaxNesting; ++i) leaf = &leaf->children.emplace_back();
  EXPECT_THROW(encode_value(tree), std::length_error);
  tree = {};
  leaf = &tree;
  for (int i = 0; i < 20; ++i) leaf = &leaf->children.emplace_back();
  EXPECT_TRUE(decode_value<Tree>(encode_value(tree)).has_value());
}

// Whatever is accepted is a value whose bytes mean the same again.
TEST(CodecTest, SeededGarbageIsRefusedOrAValue) {
  std::mt19937_64 random(20240607);
  const std::string good = encode_value(example());
  for (int round = 0; round < 20'000; ++round) {
    std::string bytes = good;
    if (round % 2 == 0) {
      bytes.resize(random() % 64);
      for (char& byte : bytes) byte = static_cast<char>(random());
    } else {
      for (std::uint64_t changes = 1 + random() % 3; changes > 0; --changes)
        bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    const Result<Everything> value = decode_value<Everything>(bytes);
    if (!value) continue;
    const std::string again = encode_value(*value);
    const Result<Everything> second = decode_value<Everything>(again);
    ASSERT_TRUE(second.has_value()) << "round " << round;
    EXPECT_EQ(encode_value(*second).size(), again.size()) << "round " << round;
  }
}

struct Refusing {
  std::uint8_t number = 0;
};

}  // namespace

template <>
struct Codec<Refusing> {
  static void write(Writer& writer, const Refusing& value) { writer.varint(value.number); }
  static void read(Reader& reader, Refusing& value) {
    value.number = static_cast<std::uint8_t>(reader.varint());
    if (value.number == 13) throw std::runtime_error("unlucky");
  }
};

namespace {

TEST(CodecTest, WhatAUsersCodecThrowsBecomesAnError) {
  EXPECT_EQ(decode_value<Refusing>("\x07")->number, 7);
  const Result<Refusing> refused = decode_value<Refusing>("\x0d");
  ASSERT_FALSE(refused.has_value());
  EXPECT_NE(refused.error().text.find("unlucky"), std::string::npos);
}

}  // namespace
}  // namespace bulkhead::program
