// Messages in a stream of bytes, however it is cut, and streams that no correct peer sends.
#include "proto/transport/framing.hpp"

#include <gtest/gtest.h>

#include <bulkhead/base/split_mix.hpp>
#include <string>
#include <vector>

namespace bulkhead::transport {
namespace {

std::string framed(std::string_view message) {
  std::string bytes(kHeaderBytes, '\0');
  put_header(bytes.data(), static_cast<std::uint32_t>(message.size()));
  return bytes.append(message);
}

// Gives the reader at most `most` bytes at a time, and takes what comes.
FrameReader::Next feed(FrameReader& reader, std::string_view stream, std::size_t most,
                       std::vector<std::string>& messages) {
  for (;;) {
    std::string_view message;
    const FrameReader::Next next = reader.next(message);
    if (next == FrameReader::Next::kMessage) {
      messages.emplace_back(message);
      continue;
    }
    if (next != FrameReader::Next::kMore || stream.empty()) return next;
    std::size_t size = 0;
    char* const at = reader.room(size);
    size = std::min({size, most, stream.size()});
    EXPECT_GT(size, 0u);
    std::memcpy(at, stream.data(), size);
    stream.remove_prefix(size);
    reader.commit(size);
  }
}

TEST(FramingTest, MessagesComeOutAsTheyWentInHoweverTheStreamIsCut) {
  std::vector<std::string> sent;
  std::string stream;
  for (const unsigned size :
       {0u, 1u, 3u, 4u, 5u, 100u, 65531u, 65532u, 65533u, 0u, 300000u, 7u, 0u}) {
    sent.emplace_back(size, static_cast<char>('a' + sent.size()));
    stream += framed(sent.back());
  }
  for (const unsigned most : {1u, 2u, 3u, 5u, 1000u, 65536u, 1000000u}) {
    FrameReader reader(1u << 20);
    std::vector<std::string> received;
    EXPECT_EQ(feed(reader, stream, most, received), FrameReader::Next::kMore);
    EXPECT_EQ(received, sent) << most << " at a time";
    EXPECT_FALSE(reader.in_message());
  }
}

TEST(FramingTest, AfterAGoodbyeNothingComes) {
  FrameReader reader(100);
  std::string stream = framed("last") + std::string(4, '\xff') + framed("never");
  std::vector<std::string> received;
  EXPECT_EQ(feed(reader, stream, 1000, received), FrameReader::Next::kGoodbye);
  EXPECT_EQ(received, std::vector<std::string>{"last"});
  EXPECT_EQ(feed(reader, {}, 1000, received), FrameReader::Next::kGoodbye);
  EXPECT_EQ(reader.why_broken(), "");
}

TEST(FramingTest, ALengthBeyondTheLimitEndsIt) {
  for (const std::uint32_t length : {101u, 0x7fffffffu, 0xfffffffeu}) {
    FrameReader reader(100);
    std::string stream = framed(std::string(100, 'x')) + std::string(4, '\0') + framed("never");
    put_header(stream.data() + 104, length);
    std::vector<std::string> received;
    EXPECT_EQ(feed(reader, stream, 7, received), FrameReader::Next::kBroken);
    EXPECT_EQ(received.size(), 1u);
    EXPECT_EQ(feed(reader, {}, 7, received), FrameReader::Next::kBroken);
    EXPECT_NE(reader.why_broken().find(std::to_string(length)), std::string::npos);
  }
}

// A header is only a promise: memory is taken as the bytes come.
TEST(FramingTest, AHeaderAloneTakesNoMemory) {
  FrameReader reader(1u << 30);
  std::string stream(4, '\0');
  put_header(stream.data(), 1u << 30);
  std::vector<std::string> received;
  EXPECT_EQ(feed(reader, stream, 4, received), FrameReader::Next::kMore);
  std::size_t size = 0;
  reader.room(size);
  EXPECT_LE(size, 1u << 20);
  EXPECT_TRUE(reader.in_message());
}

TEST(FramingTest, NoStreamOfBytesDoesHarm) {
  for (std::uint64_t seed = 1; seed <= 500; ++seed) {
    std::uint64_t state = seed;
    const auto random = [&state] { return base::split_mix(state += base::kSplitMixStep); };
    std::string stream(random() % 5000, '\0');
    for (char& byte : stream) byte = static_cast<char>(random() % 4 == 0 ? random() : 0);
    FrameReader reader(3000);
    std::vector<std::string> received;
    feed(reader, stream, 1 + random() % 300, received);
    std::size_t sum = 0;
    for (const std::string& message : received) sum += kHeaderBytes + message.size();
    EXPECT_LE(sum, stream.size()) << "seed " << seed;
  }
}

}  // namespace
}  // namespace bulkhead::transport
