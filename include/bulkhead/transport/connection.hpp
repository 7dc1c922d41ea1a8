// The data plane's seam: bounded byte messages between two parties, over whatever lies between
// them. One interface, one behaviour, several transports:
//
//   kInproc   rings between two threads of one process: message passing without isolation
//   kUnix     a local socket
//   kShm      rings in memory that two processes share
//   kZmqIpc   ZeroMQ over local sockets
//
// Messages arrive in order, each whole and once, or the connection ends: kClosed when the peer
// closed it and everything has been received, kLost when the peer is gone without. A crash never
// looks like a close. Nothing here blocks and nothing knows a scheduler: whoever gets kWait and has
// nothing else to do asks prepare_to_wait() what to wait for.
//
//   while (connection.send(bytes) == Outcome::kWait) wait_for(connection, Side::kSender);
//   connection.flush();
//
// A connection holds at most `window_bytes` and one message on either side, so whoever sends to a
// peer that does not read waits.
#pragma once

#include <bulkhead/base/error.hpp>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

namespace bulkhead::transport {

enum class Kind : std::uint8_t { kInproc, kUnix, kShm, kZmqIpc };
inline constexpr Kind kAllKinds[] = {Kind::kInproc, Kind::kUnix, Kind::kShm, Kind::kZmqIpc};

// As on the command line: "inproc", "unix", "shm", "zmq-ipc".
std::string_view name_of(Kind kind);
std::optional<Kind> kind_of(std::string_view name);

struct ConnectionOptions {
  // A message beyond this is refused by the sender; a peer that sends one all the same is cut off.
  std::size_t max_message_bytes = 64u << 20;
  // Under way in one direction before the sender has to wait.
  std::size_t window_bytes = 256u << 10;
  // What both sides know and a stranger does not: at most 64 bytes.
  std::string token;
};

// For messages of any size in a row: over ZeroMQ a sender that waits for room waits for three
// threads in turn.
inline std::size_t bulk_window_bytes(Kind kind) {
  return kind == Kind::kZmqIpc ? 2u << 20 : ConnectionOptions{}.window_bytes;
}

enum class Outcome : std::uint8_t {
  kDone,
  kWait,      // nothing there yet; no room yet: nothing was taken
  kClosed,    // the peer has closed, and everything before that was received
  kLost,      // the peer is gone, or was cut off (broken() tells why); what was sent may be lost
  kTooLarge,  // beyond max_message_bytes: nothing was taken
};

enum class Side : std::uint8_t { kSender, kReceiver };

// Told once for each wait that asked for it, by any thread; may be gone when wake() returns.
class Waker {
 public:
  virtual void wake() = 0;

 protected:
  ~Waker() = default;
};

// What somebody waits for. `fd` below 0: for the Waker.
struct Signal {
  int fd = -1;
  bool writable = false;  // until it can be written; otherwise until it can be read
  // Always this descriptor for that side, and each arrival makes it readable anew: whoever waits
  // may be registered for good (EPOLLET).
  bool standing = false;
};

// One thread at a time may send (send, flush, close, the wait of a sender) and one may receive.
// They may be two. Destroying it without close() is a loss to the peer.
class Connection {
 public:
  virtual ~Connection() = default;

  // Takes a copy. It may stay here until flush(), and leaves earlier where much has gathered.
  // kDone, kWait, kLost, kTooLarge.
  virtual Outcome send(std::string_view bytes) = 0;
  // kWait: some of it has not left yet; again when there is room. kDone, kLost otherwise.
  virtual Outcome flush() = 0;
  // Flushes, then says that nothing follows; as flush(). The other direction stays open.
  virtual Outcome close() = 0;

  // kDone: `message` is valid until the next call. kWait otherwise, or kClosed or kLost for ever.
  virtual Outcome receive(std::string_view& message) = 0;

  // After kWait. Nothing: try again at once. Otherwise the caller waits for the signal and tries
  // again then; it may come for nothing. Without a descriptor `waker` is told, unless cancel_wait()
  // was earlier.
  virtual std::optional<Signal> prepare_to_wait(Side side, Waker& waker) = 0;
  // True: the waker will not be told. False: it was told, or is being told.
  virtual bool cancel_wait(Side side) = 0;

  // Looking costs nothing worth mentioning, so a wait may begin with looking again and again.
  virtual bool is_memory() const = 0;
  // prepare_to_wait() gives no descriptor: the waker is told.
  virtual bool tells_wakers() const = 0;

  // After kLost: what the peer did that no correct one does; empty when it is just gone.
  virtual std::string broken() const = 0;
};

// prepare_to_wait() of one that tells no wakers.
std::optional<Signal> prepare_to_wait(Connection& connection, Side side);

// Where peers of one kind connect.
class Listener {
 public:
  virtual ~Listener() = default;
  // A connection whose peer has said who it is; nullptr: none yet. An error is one of ours, such as
  // no descriptors left (kResourceExhausted): who connected is turned away, the listener goes on.
  virtual Result<std::unique_ptr<Connection>> accept() = 0;
  // Readable: accept() may have something.
  virtual int fd() const = 0;
  // Connections closed because they had the wrong token or none, spoke otherwise, or were too many
  // before they had spoken.
  virtual std::uint64_t turned_away() const = 0;

  // `directory`/`name` is a path of any length that does not exist yet; a file that a dead listener
  // has left there is replaced. Removed at the end. kInproc takes it for a name.
  static Result<std::unique_ptr<Listener>> listen(Kind kind, const std::string& directory,
                                                  const std::string& name,
                                                  const ConnectionOptions& options);
};

// kUnavailable: nobody listens there. Does not wait for accept(): messages may be sent at once.
// Over ZeroMQ they leave when the other side has accepted, so flush() answers kWait until then.
Result<std::unique_ptr<Connection>> connect(Kind kind, const std::string& directory,
                                            const std::string& name,
                                            const ConnectionOptions& options);

// Ends the threads that transports have started in this process, unless a connection is left that
// needs them; waits for what the others have still to send (5 s at most). For a process that is
// about to fork, or to leave by _exit(). False: some are left.
bool end_threads();

}  // namespace bulkhead::transport
