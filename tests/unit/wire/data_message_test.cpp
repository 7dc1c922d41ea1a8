#include <gmock/gmock.h>

#include <bulkhead/wire/data_message.hpp>
#include <random>

namespace bulkhead::wire {
namespace {

using testing::HasSubstr;

template <class Message>
Message there_and_back(const Message& message, std::string& bytes) {
  encode(message, bytes);
  auto read = decode_data(bytes);
  EXPECT_TRUE(read.has_value());
  const auto* const found = read ? std::get_if<Message>(&*read) : nullptr;
  EXPECT_NE(found, nullptr);
  return found == nullptr ? Message{} : *found;
}

std::string refusal(std::string_view bytes) {
  const auto read = decode_data(bytes);
  EXPECT_FALSE(read.has_value());
  if (read) return "it was taken";
  EXPECT_EQ(read.error().code, Code::kProtocolError);
  return read.error().text;
}

TEST(DataMessageTest, AJobKeepsItsIndexAndItsBytes) {
  std::string bytes = "what was there before";
  const std::string input("a\0b", 3);
  const JobMessage job = there_and_back(JobMessage{0x0123456789abcdef, input}, bytes);
  EXPECT_EQ(job.index, 0x0123456789abcdefu);
  EXPECT_EQ(job.input, input);
  EXPECT_EQ(there_and_back(JobMessage{7, ""}, bytes).input, "");
  // As in proto/README.md.
  encode(JobMessage{0x0102, "xy"}, bytes);
  EXPECT_EQ(bytes, std::string("\2\2\1\0\0\0\0\0\0xy", 11));
}

TEST(DataMessageTest, AResultKeepsAllThatItSays) {
  std::string bytes;
  const ResultMessage full{
      .index = 99, .service_seconds = 0.125, .credit = 70'000, .threw = true, .bytes = "why"};
  const ResultMessage read = there_and_back(full, bytes);
  EXPECT_EQ(read.index, 99u);
  EXPECT_EQ(read.service_seconds, 0.125);
  EXPECT_EQ(read.credit, 70'000u);
  EXPECT_TRUE(read.threw);
  EXPECT_EQ(read.bytes, "why");
  EXPECT_FALSE(there_and_back(ResultMessage{.index = 1}, bytes).threw);
}

TEST(DataMessageTest, CreditIsFilledInLater) {
  std::string bytes;
  encode(ResultMessage{.index = 3, .service_seconds = 1, .bytes = "text"}, bytes);
  set_credit(bytes, 0xfedcba98);
  const auto read = decode_data(bytes);
  ASSERT_TRUE(read.has_value());
  const auto& result = std::get<ResultMessage>(*read);
  EXPECT_EQ(result.credit, 0xfedcba98);
  EXPECT_EQ(result.index, 3u);
  EXPECT_EQ(result.bytes, "text");
}

TEST(DataMessageTest, AJoinSaysWhoseItIs) {
  std::string bytes;
  const JoinMessage join = there_and_back(JoinMessage{{"8 bytes.", 3, 2}, "token"}, bytes);
  EXPECT_EQ(join.identity, (Identity{"8 bytes.", 3, 2}));
  EXPECT_EQ(join.token, "token");
}

TEST(DataMessageTest, AnythingElseIsProtobufWithinTheLimit) {
  v1::ToWorker message;
  message.mutable_jobs()->add_jobs()->set_input(std::string(100, 'x'));
  std::string bytes;
  ASSERT_TRUE(encode(message, bytes).has_value());
  const auto read = decode_data(bytes);
  ASSERT_TRUE(read.has_value());
  const auto again = decode_to_worker(std::get<ProtobufMessage>(*read).bytes);
  ASSERT_TRUE(again.has_value());
  EXPECT_EQ(again->SerializeAsString(), message.SerializeAsString());
  EXPECT_TRUE(encode(message, bytes, bytes.size()).has_value());
  const auto refused = encode(message, bytes, bytes.size() - 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
}

TEST(DataMessageTest, WhatIsNoMessageIsRefused) {
  EXPECT_EQ(refusal(""), "an empty message");
  EXPECT_EQ(refusal("\x7f"), "a message of kind 127");
  EXPECT_EQ(refusal(std::string_view("\0", 1)), "a message of kind 0");
  EXPECT_EQ(refusal("\1"), "a join without an identity");
  EXPECT_EQ(refusal("\2short"), "a job of 6 bytes is too short");
  EXPECT_EQ(refusal(std::string("\3") + std::string(20, 'x')), "a result of 21 bytes is too short");
}

// Whatever the bytes, it is a message or a refusal.
TEST(DataMessageTest, RandomBytesDoNoHarm) {
  std::mt19937_64 random(1);
  for (int i = 0; i < 20'000; ++i) {
    std::string bytes(random() % 40, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    if (!bytes.empty() && i % 2 == 0) bytes[0] = static_cast<char>(random() % 6);
    static_cast<void>(decode_data(bytes));
  }
}

}  // namespace
}  // namespace bulkhead::wire
