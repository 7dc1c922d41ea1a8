// How two processes of one machine meet: the connector connects a stream socket and says, in one
// packet with its descriptors, who it is and what it offers. There is no answer: it may send at
// once, and what it offers is taken or the socket closed.
#pragma once

#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/connection.hpp>
#include <cstdint>
#include <string>
#include <vector>

#include "proto/transport/socket_file.hpp"

namespace bulkhead::transport {

// What the connector says. On the wire kHelloBytes; proto/README.md has them.
struct Hello {
  Kind kind = Kind::kUnix;
  std::string token;  // at most kMostTokenBytes
  std::uint32_t window_bytes = 0;
  std::uint64_t id = 0;  // of kZmqIpc: by which the two find one another's inboxes
};
inline constexpr std::size_t kHelloBytes = 96;
inline constexpr std::size_t kMostTokenBytes = 64;
inline constexpr std::size_t kMostHelloDescriptors = 4;

std::string encode(const Hello& hello);
// kProtocolError, kVersionMismatch.
Result<Hello> decode_hello(const std::string& bytes);

// Connects and says it; the socket is non-blocking then. kUnavailable: nobody listens.
Result<base::UniqueFd> meet(const Address& address, const Hello& hello,
                            const std::vector<int>& descriptors);

struct Visitor {
  base::UniqueFd socket;
  Hello hello;
  std::vector<base::UniqueFd> descriptors;
};

// Accepts visitors who have said who they are. One thread at a time.
class Door {
 public:
  static Result<std::unique_ptr<Door>> open(const Address& address, Kind kind, std::string token);
  virtual ~Door() = default;
  // nullopt: none yet. kResourceExhausted: somebody had to be turned away.
  virtual Result<std::optional<Visitor>> next() = 0;
  virtual int fd() const = 0;
  virtual std::uint64_t turned_away() const = 0;
  // Of a visitor whose offer was no good.
  virtual void count_turned_away() = 0;
};

}  // namespace bulkhead::transport
