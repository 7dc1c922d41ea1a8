// What a worker of an isolated model and the coordinator say to each other over the data plane,
// byte by byte as in proto/README.md. One of these is one message of the transport; numbers are
// little-endian.
//
// Jobs and results, of which there are many, have a header of fixed size and then the program's own
// bytes; all else is a ToWorker or ToCoordinator of control.proto.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <bulkhead/base/error.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <variant>

namespace bulkhead::wire {

// The first message of a worker: whose connection this is.
struct JoinMessage {
  Identity identity;
  std::string_view token;  // of this incarnation alone
};

struct JobMessage {
  std::uint64_t index = 0;
  std::string_view input;
};

struct ResultMessage {
  std::uint64_t index = 0;
  double service_seconds = 0;
  std::uint32_t credit = 0;  // rides along, as in JobRequest
  bool threw = false;        // `bytes` is then what() of the exception
  std::string_view bytes{};
};

// A whole ToWorker or ToCoordinator, encoded.
struct ProtobufMessage {
  std::string_view bytes;
};

// The views are into the bytes that were read.
using DataMessage = std::variant<JoinMessage, JobMessage, ResultMessage, ProtobufMessage>;

// Replace what `to` holds and keep its room, so that whoever sends many allocates once.
void encode(const JoinMessage& message, std::string& to);
void encode(const JobMessage& message, std::string& to);
void encode(const ResultMessage& message, std::string& to);
// Of a ResultMessage that is encoded already.
void set_credit(std::string& encoded, std::uint32_t credit);
// kTooLarge when all of it would not fit `limit`.
Result<void> encode(const google::protobuf::MessageLite& message, std::string& to,
                    std::size_t limit = kMaxMessageBytes);

// The same as protobuf has it, without the credit.
void fill(v1::JobResult& entry, const ResultMessage& result);

// kProtocolError: no message of this kind, or one that ends too early.
Result<DataMessage> decode_data(std::string_view bytes);

}  // namespace bulkhead::wire
