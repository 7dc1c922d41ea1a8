#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cmath>
#include <thread>

namespace bulkhead::wire {
namespace {

constexpr double kPatience = 60;

class BootTest : public testing::Test {
 protected:
  BootTest() {
    int ends[2] = {-1, -1};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    coordinator_ = base::UniqueFd(ends[0]);
    worker_ = base::UniqueFd(ends[1]);
  }

  void raw(const std::string& bytes) {
    ASSERT_EQ(::send(coordinator_.get(), bytes.data(), bytes.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(bytes.size()));
  }
  Code failure(double timeout = kPatience) {
    const auto boot = read_boot(worker_.get(), timeout);
    EXPECT_FALSE(boot.has_value());
    return boot ? Code::kInternal : boot.error().code;
  }

  base::UniqueFd coordinator_;
  base::UniqueFd worker_;
};

v1::Boot some_boot() {
  v1::Boot boot;
  boot.set_protocol(1);
  boot.set_worker(3);
  boot.set_run_directory("/tmp/\xff");
  boot.add_inputs("an input");
  boot.add_solo_jobs(17);
  return boot;
}

TEST_F(BootTest, TheWorkerReadsWhatTheCoordinatorWrote) {
  const v1::Boot boot = some_boot();
  ASSERT_TRUE(write_boot(coordinator_.get(), boot).has_value());
  const auto read = read_boot(worker_.get(), kPatience);
  ASSERT_TRUE(read.has_value()) << read.error().text;
  EXPECT_EQ(read->SerializeAsString(), boot.SerializeAsString());
}

TEST_F(BootTest, TheFramingIsFixed) {
  v1::Boot boot;
  boot.set_protocol(1);
  boot.set_worker(3);
  ASSERT_TRUE(write_boot(coordinator_.get(), boot).has_value());
  char bytes[16];
  ASSERT_EQ(::recv(worker_.get(), bytes, sizeof bytes, 0), 8);
  EXPECT_EQ(std::string(bytes, 8), std::string("\x04\0\0\0\x08\x01\x18\x03", 8));
}

TEST_F(BootTest, NothingBehindTheMessageIsRead) {
  ASSERT_TRUE(write_boot(coordinator_.get(), some_boot()).has_value());
  raw("next");
  ASSERT_TRUE(read_boot(worker_.get(), kPatience).has_value());
  char bytes[16];
  ASSERT_EQ(::recv(worker_.get(), bytes, sizeof bytes, 0), 4);
  EXPECT_EQ(std::string(bytes, 4), "next");
}

TEST_F(BootTest, AMessageInPiecesIsPutTogether) {
  const std::string body = some_boot().SerializeAsString();
  const std::string whole = std::string{static_cast<char>(body.size()), 0, 0, 0} + body;
  std::thread writer([&] {
    for (const char byte : whole) raw(std::string(1, byte));
  });
  const auto read = read_boot(worker_.get(), kPatience);
  writer.join();
  ASSERT_TRUE(read.has_value()) << read.error().text;
  EXPECT_EQ(read->SerializeAsString(), body);
}

TEST_F(BootTest, SeveralHundredKilobytesNeedNoReader) {
  v1::Boot boot = some_boot();
  boot.add_inputs(std::string(150'000, 'i'));
  ASSERT_TRUE(write_boot(coordinator_.get(), boot).has_value());
  const auto read = read_boot(worker_.get(), kPatience);
  ASSERT_TRUE(read.has_value()) << read.error().text;
  EXPECT_EQ(read->inputs(1).size(), 150'000u);
}

TEST_F(BootTest, WhatFitsNoBufferIsTooLargeAndNeverBlocks) {
  v1::Boot boot = some_boot();
  boot.add_inputs(std::string((16u << 20) + 1, 'i'));
  const auto written = write_boot(coordinator_.get(), boot);
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, Code::kTooLarge);

  // A buffer that is full already has the same answer.
  v1::Boot large = some_boot();
  large.add_inputs(std::string(100'000, 'i'));
  Result<void> last;
  for (int i = 0; last && i < 1000; ++i) last = write_boot(coordinator_.get(), large);
  ASSERT_FALSE(last.has_value());
  EXPECT_EQ(last.error().code, Code::kTooLarge);
}

TEST_F(BootTest, AClosedLifelineIsUnavailable) {
  coordinator_.reset();
  EXPECT_EQ(failure(), Code::kUnavailable);
}

TEST_F(BootTest, ALifelineThatEndsHalfWayIsUnavailable) {
  raw(std::string("\x64\0\0\0half", 8));
  coordinator_.reset();
  EXPECT_EQ(failure(), Code::kUnavailable);
}

TEST_F(BootTest, WritingToAClosedLifelineIsUnavailableAndNoSignal) {
  worker_.reset();
  const auto written = write_boot(coordinator_.get(), some_boot());
  ASSERT_FALSE(written.has_value());
  EXPECT_EQ(written.error().code, Code::kUnavailable);
}

TEST_F(BootTest, SilenceTimesOut) {
  for (const double timeout : {0.0, -1.0, std::nan(""), 0.01}) {
    EXPECT_EQ(failure(timeout), Code::kTimedOut);
  }
  raw(std::string("\x64\0\0\0half", 8));
  EXPECT_EQ(failure(0.01), Code::kTimedOut);
}

TEST_F(BootTest, AnImpossibleLengthIsAProtocolError) {
  raw(std::string("\xff\xff\xff\x7f", 4));
  EXPECT_EQ(failure(), Code::kProtocolError);
  raw(std::string(4, '\0'));
  EXPECT_EQ(failure(), Code::kProtocolError);
}

TEST_F(BootTest, BytesThatAreNoBootMessageAreAProtocolError) {
  raw(std::string("\x02\0\0\0\xff\xff", 6));
  EXPECT_EQ(failure(), Code::kProtocolError);
}

TEST_F(BootTest, ADescriptorThatIsNoSocketIsAnIoError) {
  base::UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
  EXPECT_EQ(read_boot(null.get(), kPatience).error().code, Code::kIoError);
  EXPECT_EQ(write_boot(null.get(), some_boot()).error().code, Code::kIoError);
}

}  // namespace
}  // namespace bulkhead::wire
