#include <gmock/gmock.h>

#include <bulkhead/wire/channel_message.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <random>
#include <set>

namespace bulkhead::wire {
namespace {

constexpr ChannelJoin kJoin{.attempt = 0x01020304, .channel = 0xfffefdfc, .sends = true};

std::string refused_as(std::string_view bytes) {
  const auto join = decode_channel_join(bytes);
  if (join) return "(accepted)";
  EXPECT_EQ(join.error().code, Code::kProtocolError);
  return join.error().text;
}

TEST(ChannelMessageTest, AJoinKeepsAllThatItSays) {
  for (const std::uint32_t attempt : {0u, 1u, 255u, 256u, 0x7fffffffu, 0xffffffffu}) {
    for (const std::uint32_t channel : {0u, 1u, 0x80u, 0xffffffffu}) {
      for (const bool sends : {false, true}) {
        const ChannelJoin join{.attempt = attempt, .channel = channel, .sends = sends};
        const auto read = decode_channel_join(encode(join));
        ASSERT_TRUE(read.has_value()) << read.error().text;
        EXPECT_EQ(*read, join);
      }
    }
  }
}

// As in proto/README.md.
TEST(ChannelMessageTest, AJoinsBytesAreTheseOnEveryMachine) {
  EXPECT_EQ(encode(kJoin), std::string("\x05\x01\x04\x03\x02\x01\xfc\xfd\xfe\xff", 10));
  EXPECT_EQ(encode(ChannelJoin{.attempt = 1, .channel = 2}),
            std::string("\x05\x00\x01\x00\x00\x00\x02\x00\x00\x00", 10));
}

TEST(ChannelMessageTest, AJoinOfAnyOtherLengthIsRefused) {
  const std::string whole = encode(kJoin);
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_EQ(refused_as(whole.substr(0, size)),
              std::to_string(size) + " bytes that join no channel");
    EXPECT_NE(refused_as(whole.substr(whole.size() - size)), "(accepted)");
  }
  std::string longer = whole;
  for (int more = 1; more <= 20; ++more) {
    longer.push_back('\0');
    EXPECT_NE(refused_as(longer), "(accepted)") << more << " bytes more";
  }
  EXPECT_NE(refused_as(whole + whole), "(accepted)");
}

TEST(ChannelMessageTest, AJoinOfAnotherKindOrOfNoEndIsRefused) {
  for (int byte = 0; byte < 256; ++byte) {
    std::string kind = encode(kJoin);
    kind[0] = static_cast<char>(byte);
    EXPECT_EQ(refused_as(kind) == "(accepted)", byte == 5) << byte;
    std::string end = encode(kJoin);
    end[1] = static_cast<char>(byte);
    EXPECT_EQ(refused_as(end) == "(accepted)", byte < 2) << byte;
  }
}

// Whoever comes to the wrong listener is turned away by either.
TEST(ChannelMessageTest, AJoinIsNoMessageOfTheDataPlaneNorTheOtherWayRound) {
  EXPECT_FALSE(decode_data(encode(kJoin)).has_value());
  std::string bytes;
  encode(JoinMessage{{"8 bytes.", 3, 2}, "token"}, bytes);
  EXPECT_NE(refused_as(bytes), "(accepted)");
}

TEST(ChannelMessageTest, ACreditKeepsItsNumber) {
  for (const std::uint32_t values : {0u, 1u, 64u, 0x1234u, 0xffffffffu}) {
    const auto read = decode_credit(encode_credit(values));
    ASSERT_TRUE(read.has_value());
    EXPECT_EQ(*read, values);
  }
  EXPECT_EQ(encode_credit(0x01020304), std::string("\4\3\2\1", 4));
}

TEST(ChannelMessageTest, ACreditOfAnyOtherLengthIsRefused) {
  for (std::size_t size = 0; size < 20; ++size) {
    const auto read = decode_credit(std::string(size, '\1'));
    EXPECT_EQ(read.has_value(), size == 4) << size;
    if (read) continue;
    EXPECT_EQ(read.error().code, Code::kProtocolError);
    EXPECT_EQ(read.error().text, "a credit of " + std::to_string(size) + " bytes");
  }
}

// Whatever the bytes, it is what its bytes say or a refusal.
TEST(ChannelMessageTest, RandomBytesDoNoHarm) {
  const std::uint64_t seed = std::random_device{}();
  std::mt19937_64 random(seed);
  int joins = 0;
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(i % 4 == 0 ? random() % 20 : 10, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (bytes.size() >= 2 && i % 2 == 0) {
      bytes[0] = '\5';
      bytes[1] = static_cast<char>(random() % 3);
    }
    static_cast<void>(decode_credit(bytes));
    const auto join = decode_channel_join(bytes);
    if (!join) continue;
    ++joins;
    ASSERT_EQ(encode(*join), bytes) << "seed " << seed;
  }
  EXPECT_GT(joins, 1000) << "seed " << seed;
}

TEST(ChannelMessageTest, EachIncarnationOfEachRunIsFoundUnderANameOfItsOwn) {
  EXPECT_EQ(channel_listener_name({std::string("\x00\x7f\x80\xff/..\n", 8), 3, 12}),
            "channels-007f80ff2f2e2e0a-3.12");
  std::set<std::string> names;
  for (const char* const run : {"8 bytes.", "8 bytes,"}) {
    for (const std::uint32_t worker : {1u, 2u, 11u, 12u}) {
      for (const std::uint32_t incarnation : {1u, 2u, 11u, 12u})
        names.insert(channel_listener_name({run, worker, incarnation}));
    }
  }
  EXPECT_EQ(names.size(), 32u);
  for (const std::string& name : names) EXPECT_EQ(name.find('/'), std::string::npos) << name;
}

}  // namespace
}  // namespace bulkhead::wire
