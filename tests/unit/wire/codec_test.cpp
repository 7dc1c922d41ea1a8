#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bulkhead/wire/codec.hpp>
#include <cstdlib>
#include <limits>
#include <memory>
#include <random>
#include <string>
#include <vector>

namespace bulkhead::wire {
namespace {

std::string bytes_of(std::initializer_list<int> values) {
  std::string bytes;
  for (const int value : values) bytes.push_back(static_cast<char>(value));
  return bytes;
}

v1::ToCoordinator some_results() {
  v1::ToCoordinator message;
  for (std::uint64_t i = 0; i < 3; ++i) {
    auto* result = message.mutable_results()->add_results();
    result->set_index(i * 1'000'000'007);
    result->set_service_seconds(0.25);
    if (i == 1) {
      result->set_error("what() of an exception, not UTF-8: \xff\xfe");
    } else {
      result->set_result(std::string(40, '\0') + "result");
    }
  }
  message.mutable_results()->set_request(7);
  return message;
}

v1::ToWorker some_jobs() {
  v1::ToWorker message;
  auto* job = message.mutable_jobs()->add_jobs();
  job->set_index(std::numeric_limits<std::uint64_t>::max());
  job->set_input("\x80 any bytes");
  job->mutable_fault()->set_kind(v1::FAULT_SEGV);
  job->mutable_fault()->set_times(2);
  return message;
}

TEST(CodecTest, MessagesComeBackAsTheyWere) {
  const v1::ToCoordinator results = some_results();
  const auto encoded = encode(results);
  ASSERT_TRUE(encoded.has_value());
  const auto decoded = decode_to_coordinator(*encoded);
  ASSERT_TRUE(decoded.has_value()) << decoded.error().text;
  EXPECT_EQ(decoded->SerializeAsString(), results.SerializeAsString());
  EXPECT_EQ(decoded->results().results(1).error(), results.results().results(1).error());

  const v1::ToWorker jobs = some_jobs();
  const auto encoded_jobs = encode(jobs);
  ASSERT_TRUE(encoded_jobs.has_value());
  const auto decoded_jobs = decode_to_worker(*encoded_jobs);
  ASSERT_TRUE(decoded_jobs.has_value()) << decoded_jobs.error().text;
  EXPECT_EQ(decoded_jobs->SerializeAsString(), jobs.SerializeAsString());
}

TEST(CodecTest, EmptyBodiesAreBodies) {
  v1::ToWorker message;
  message.mutable_welcome();
  const auto encoded = encode(message);
  ASSERT_TRUE(encoded.has_value());
  EXPECT_EQ(*encoded, bytes_of({0x0a, 0x00}));
  const auto decoded = decode_to_worker(*encoded);
  ASSERT_TRUE(decoded.has_value());
  EXPECT_TRUE(decoded->has_welcome());
}

TEST(CodecTest, TheSenderRefusesWhatTheReceiverWouldNotTake) {
  v1::ToCoordinator message;
  message.mutable_answer()->set_text(std::string(1000, 'x'));
  const std::size_t size = message.ByteSizeLong();
  EXPECT_TRUE(encode(message, size).has_value());
  const auto refused = encode(message, size - 1);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code, Code::kTooLarge);
  EXPECT_THAT(refused.error().text, testing::HasSubstr(std::to_string(size)));
}

TEST(CodecTest, AnythingButOneKnownBodyIsAProtocolError) {
  const std::string good = some_results().SerializeAsString();
  const std::string bad[] = {
      "",                                              // no body
      bytes_of({0xfa, 0x07, 0x01, 0x00}),              // field 127: a body of another version
      bytes_of({0x08, 0x01}),                          // field 1 as a number: not a message
      good.substr(0, good.size() - 1),                 // truncated
      good + '\x0a',                                   // something behind
      good + '\0',                                     // field 0
      bytes_of({0x0c}),                                // the end of a group that never began
      bytes_of({0x1a, 0xff, 0xff, 0xff, 0xff, 0x0f}),  // a length of 4 GiB
      bytes_of({0x0a, 0x03, 0x12, 0x01, 0xff}),        // build_id, a string, not UTF-8
      std::string(kMaxMessageBytes + 1, '\x0a'),
  };
  for (std::size_t i = 0; i < std::size(bad); ++i) {
    const auto decoded = decode_to_coordinator(bad[i]);
    ASSERT_FALSE(decoded.has_value()) << "case " << i;
    EXPECT_EQ(decoded.error().code, Code::kProtocolError) << "case " << i;
  }
}

TEST(CodecTest, UnknownFieldsBesideAKnownBodyAreIgnored) {
  v1::ToWorker message;
  message.mutable_drain();
  const auto decoded =
      decode_to_worker(message.SerializeAsString() + bytes_of({0xfa, 0x07, 0x01, 0x00}));
  ASSERT_TRUE(decoded.has_value());
  EXPECT_TRUE(decoded->has_drain());
}

TEST(CodecTest, NestingWithoutEndIsRefusedNotFollowed) {
  // A group (field 100) within a group, a hundred thousand deep: protobuf's limit is 100.
  const std::string open = bytes_of({0xa3, 0x06});
  std::string bytes;
  for (int i = 0; i < 100'000; ++i) bytes += open;
  EXPECT_FALSE(decode_to_coordinator(bytes).has_value());
  EXPECT_FALSE(decode_to_worker(bytes).has_value());
}

TEST(CodecTest, BadBytesLeaveNoLineOnStderr) {
  testing::internal::CaptureStderr();
  v1::ToCoordinator not_utf8;
  not_utf8.mutable_hello()->set_build_id("\xff");
  const auto encoded = encode(not_utf8);
  ASSERT_TRUE(encoded.has_value());
  EXPECT_FALSE(decode_to_coordinator(*encoded).has_value());
  EXPECT_FALSE(decode_to_worker("\x01\x02\x03").has_value());
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

// Whatever decodes must be a message with a body, and encode again.
void decode_both(std::string_view bytes) {
  if (const auto decoded = decode_to_coordinator(bytes)) {
    EXPECT_NE(decoded->body_case(), v1::ToCoordinator::BODY_NOT_SET);
    EXPECT_TRUE(encode(*decoded).has_value());
  } else {
    EXPECT_EQ(decoded.error().code, Code::kProtocolError);
  }
  if (const auto decoded = decode_to_worker(bytes)) {
    EXPECT_NE(decoded->body_case(), v1::ToWorker::BODY_NOT_SET);
    EXPECT_TRUE(encode(*decoded).has_value());
  } else {
    EXPECT_EQ(decoded.error().code, Code::kProtocolError);
  }
  static_cast<void>(decode_identity(bytes));
}

// BULKHEAD_TEST_SEED=N repeats a run that failed.
unsigned fuzz_seed() {
  const char* const given = std::getenv("BULKHEAD_TEST_SEED");
  return given == nullptr ? 20240607u : static_cast<unsigned>(std::strtoul(given, nullptr, 10));
}

// One of each body, and some with much in them.
std::vector<std::string> corpus() {
  std::vector<std::string> messages{some_results().SerializeAsString(),
                                    some_jobs().SerializeAsString(),
                                    encode_identity({"runid678", 1, 1})};
  const auto add = [&](const google::protobuf::Message& whole) {
    const auto* type = whole.GetDescriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      const std::unique_ptr<google::protobuf::Message> message(whole.New());
      auto* body = message->GetReflection()->MutableMessage(message.get(), type->field(i));
      messages.push_back(message->SerializeAsString());  // with every field left out
      for (int f = 0; f < body->GetDescriptor()->field_count(); ++f) {
        const auto* field = body->GetDescriptor()->field(f);
        using Field = google::protobuf::FieldDescriptor;
        const auto* fields = body->GetReflection();
        const bool many = field->is_repeated();
        if (field->cpp_type() == Field::CPPTYPE_STRING) {
          for (int n = 0; n < (many ? 3 : 1); ++n) {
            many ? fields->AddString(body, field, "some text")
                 : fields->SetString(body, field, "some text");
          }
        } else if (field->cpp_type() == Field::CPPTYPE_UINT32 && !many) {
          fields->SetUInt32(body, field, 0xffffffff);
        } else if (field->cpp_type() == Field::CPPTYPE_UINT64 && !many) {
          fields->SetUInt64(body, field, ~std::uint64_t{0});
        } else if (field->cpp_type() == Field::CPPTYPE_BOOL && !many) {
          fields->SetBool(body, field, true);
        } else if (field->cpp_type() == Field::CPPTYPE_MESSAGE) {
          many ? fields->AddMessage(body, field) : fields->MutableMessage(body, field);
        }
      }
      messages.push_back(message->SerializeAsString());
    }
  };
  add(v1::ToCoordinator());
  add(v1::ToWorker());
  return messages;
}

TEST(CodecFuzzTest, RandomBytesNeverHurt) {
  const unsigned seed = fuzz_seed();
  SCOPED_TRACE("BULKHEAD_TEST_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  for (int i = 0; i < 20'000 && !testing::Test::HasFailure(); ++i) {
    std::string bytes(random() % 64, '\0');
    for (char& byte : bytes) byte = static_cast<char>(random());
    decode_both(bytes);
  }
}

TEST(CodecFuzzTest, DamagedMessagesNeverHurt) {
  const unsigned seed = fuzz_seed();
  SCOPED_TRACE("BULKHEAD_TEST_SEED=" + std::to_string(seed));
  std::mt19937 random(seed);
  const std::vector<std::string> whole = corpus();
  ASSERT_GT(whole.size(), 40u);
  // What makes decoders stumble: lengths without end, nesting, the edges of a number.
  const std::string bait[] = {std::string(5, '\xff'),
                              std::string(10, '\xff') + '\1',
                              std::string("\xff\xff\xff\xff\x07", 5),
                              std::string(1, '\0'),
                              std::string("\xa3\x06", 2),
                              std::string("\x0b", 1)};
  const auto place = [&](const std::string& bytes) { return random() % (bytes.size() + 1); };
  for (int i = 0; i < 100'000 && !testing::Test::HasFailure(); ++i) {
    std::string bytes = whole[random() % whole.size()];
    for (auto changes = random() % 5; changes > 0; --changes) {
      const std::string& other = whole[random() % whole.size()];
      switch (random() % 6) {
        case 0:
          if (!bytes.empty()) bytes[random() % bytes.size()] = static_cast<char>(random());
          break;
        case 1:
          if (!bytes.empty()) {
            char& byte = bytes[random() % bytes.size()];
            byte = static_cast<char>(byte ^ (1 << (random() % 8)));
          }
          break;
        case 2:
          bytes.resize(place(bytes));
          break;
        case 3:
          bytes.insert(place(bytes), bait[random() % std::size(bait)]);
          break;
        case 4:
          bytes.insert(place(bytes), other.substr(0, place(other)));
          break;
        default:
          bytes.erase(place(bytes), random() % 8);
          break;
      }
    }
    decode_both(bytes);
  }
}

// Messages within messages, of a type that has itself as a field, do not exist here; a decoder must
// bound the groups of fields that it does not know, and unknown fields at any depth.
TEST(CodecFuzzTest, NestingIsFollowedToItsLimitAndNoFurther) {
  const std::string welcome = bytes_of({0x0a, 0x00});
  const auto groups = [&](std::size_t levels) {
    std::string bytes;
    for (std::size_t i = 0; i < levels; ++i) bytes += bytes_of({0xa3, 0x06});  // begin of field 100
    for (std::size_t i = 0; i < levels; ++i) bytes += bytes_of({0xa4, 0x06});  // its end
    return welcome + bytes;
  };
  EXPECT_TRUE(decode_to_worker(groups(50)).has_value());
  for (const std::size_t levels : {101u, 10'000u, 1'000'000u}) {
    EXPECT_FALSE(decode_to_worker(groups(levels)).has_value()) << levels;
    EXPECT_FALSE(decode_to_coordinator(groups(levels)).has_value()) << levels;
  }
}

TEST(CodecFuzzTest, NoTruncationIsTakenForTheWhole) {
  const std::string whole = some_results().SerializeAsString();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(decode_to_coordinator(whole.substr(0, size)).has_value()) << size;
  }
}

TEST(IdentityTest, TheBytesAreFixed) {
  const Identity identity{"runid678", 0x01020304, 0xa0b0c0d0};
  EXPECT_EQ(encode_identity(identity),
            "Brunid678" + bytes_of({4, 3, 2, 1, 0xd0, 0xc0, 0xb0, 0xa0}));
}

TEST(IdentityTest, IdentitiesComeBackAsTheyWere) {
  for (const std::uint32_t number : {0u, 1u, 255u, 65536u, 0xffffffffu}) {
    const Identity identity{std::string("\0\xff\n45678", 8), number, ~number};
    EXPECT_EQ(decode_identity(encode_identity(identity)), identity);
  }
}

TEST(IdentityTest, OnlyOneFormIsAnIdentity) {
  const std::string good = encode_identity({"runid678", 1, 1});
  ASSERT_EQ(good.size(), 17u);
  EXPECT_FALSE(decode_identity("").has_value());
  EXPECT_FALSE(decode_identity(good.substr(1)).has_value());
  EXPECT_FALSE(decode_identity(good + 'x').has_value());
  EXPECT_FALSE(decode_identity('b' + good.substr(1)).has_value());
}

TEST(IdentityDeathTest, ARunIdOfAnotherLengthIsAProgrammersError) {
  EXPECT_DEATH(encode_identity({"short", 1, 1}), "run id has 8 bytes, not 5");
}

TEST(BuildIdTest, IsAShortHexNumber) {
  EXPECT_THAT(std::string(build_id()), testing::MatchesRegex("[0-9a-f]{16}"));
}

}  // namespace
}  // namespace bulkhead::wire
