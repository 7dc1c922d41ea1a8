// Bytes between processes over ZeroMQ. Nothing here blocks but wait(), nothing knows protobuf, no
// exception leaves. libzmq is private to proto/transport/.
//
// ZeroMQ hides failures: a send to a dead peer "succeeds", an oversized message cuts the link in
// silence. So identity, credit and size checks belong to the callers, and a death is learnt from
// the host, never from here.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::transport {

struct Options {
  // A message beyond this is refused by the sender (kTooLarge); a peer that sends one all the same
  // loses its link.
  std::size_t max_message_bytes = 64u << 20;
  // Messages queued towards one peer before send() says kResourceExhausted. Credit keeps a correct
  // caller far below.
  int queue_messages = 4096;
};

// What libzmq does once a process, without a thread or a descriptor left: a process that forks has
// it done for its children.
void prepare_for_forks();

// Where the coordinator listens: `directory`/`name`, any length of directory (a path beyond the 107
// bytes of a socket address is reached through /proc/self/fd).
struct Address {
  std::string directory;
  std::string name;
};

// Which connections a Router keeps. Others are closed before a byte of them is read, and so is
// whatever would leave the process without descriptors for itself.
struct Admission {
  // Asked on a thread of libzmq, with the process that connected (0: unknown). Absent: anybody.
  std::function<bool(int pid)> admits;
  int per_process = 0;  // open at once; 0: any number
  int total = 0;
};

struct Message {
  std::string peer;   // routing identity of the sender; empty at a Dealer
  std::string bytes;  // the one payload frame
};

struct Readiness {
  bool messages = false;    // receive() may have something
  bool descriptor = false;  // `other_fd` is readable (or has hung up)
};

// The coordinator's end. One thread owns it.
class Router {
 public:
  static Result<std::unique_ptr<Router>> bind(const Address& address, const Options& options,
                                              const Admission& admission = {});
  virtual ~Router() = default;

  // kUnavailable: nobody of that identity is connected (any more); the message was not delivered.
  // kResourceExhausted: the peer does not read. kTooLarge: beyond max_message_bytes.
  virtual Result<void> send(std::string_view peer, std::string bytes) = 0;
  // The next message, or nothing. Messages of other than two frames (identity, payload), or from a
  // peer without an identity of its own, are dropped and counted.
  virtual std::optional<Message> receive() = 0;
  // Until a message may be there, `other_fd` is readable, or `timeout` has passed (negative: none).
  // A signal ends the wait early with nothing ready.
  virtual Readiness wait(int other_fd, base::Duration timeout) = 0;
  virtual std::uint64_t malformed() const = 0;
  // Connections closed at once so far.
  virtual std::uint64_t turned_away() const = 0;
  // Processes that connected again after all that they had here was cut or closed: what they sent
  // in between is lost, and libzmq tells neither side. `returned_fd()` is readable while there are
  // any.
  virtual std::vector<int> take_returned() = 0;
  virtual int returned_fd() const = 0;
};

// A worker's end. One thread owns it.
class Dealer {
 public:
  // `identity` is 1 to 255 bytes, the first not 0. Connecting to nobody does not fail.
  static Result<std::unique_ptr<Dealer>> connect(const Address& address, std::string_view identity,
                                                 const Options& options);
  virtual ~Dealer() = default;

  // Takes `bytes` only when it succeeds: what a full queue refused can be sent again.
  virtual Result<void> send(std::string&& bytes) = 0;
  virtual std::optional<Message> receive() = 0;

  struct Wait {
    bool messages = false;
    std::vector<bool> descriptors;  // one for each of `fds`
  };
  virtual Wait wait(const std::vector<int>& fds, base::Duration timeout) = 0;
};

}  // namespace bulkhead::transport
