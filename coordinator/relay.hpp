// Channels between workers by way of the coordinator: the same two ends, each connected to us, and
// every value and credit handed on. It is there to price the extra hop. Single-threaded; nothing
// here blocks, and at most one message of each direction waits here for room.
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/connection.hpp>
#include <bulkhead/wire/channel_message.hpp>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>

#include "watch.hpp"

namespace bulkhead::coordinator {

class Relay {
 public:
  // Listens at `directory`/`name`, the directory private to this process.
  static Result<std::unique_ptr<Relay>> open(transport::Kind kind, const std::string& directory,
                                             const std::string& name, const std::string& token);

  // Readable when take() may find something; not while pending().
  int fd() const { return epoll_.get(); }
  bool pending() const { return pending_; }
  // Hands on what has come, but so much from each at a time.
  void take();

 private:
  // One end of a channel.
  struct End {
    Watch watch;
    std::unique_ptr<transport::Connection> connection;
    std::optional<wire::ChannelJoin> join{};  // what it has said that it is
    std::uint64_t other = 0;                  // its other end, once that is here
    std::optional<std::string> held{};        // from here, no room there yet
    bool ready = true;
    bool closed = false;  // it sends nothing more
    bool told = false;    // which its other end knows
    bool ended = false;   // gone, and so must the other end be
  };

  explicit Relay(std::unique_ptr<transport::Listener> listener);

  void look();
  void accept();
  void read(End& end);
  bool hand_on(End& end, End& other);
  void flush(End& from, End& to);
  void join(End& end, std::string_view bytes);
  void forget_ended();
  End* other_of(const End& end);

  const std::unique_ptr<transport::Listener> listener_;
  const base::UniqueFd epoll_;
  std::map<std::uint64_t, End> ends_;
  std::uint64_t next_id_ = 1;  // 0: the listener, and nobody
  bool pending_ = false;
};

}  // namespace bulkhead::coordinator
