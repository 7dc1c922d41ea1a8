// The coordinator's end of the data plane of one run: who has joined it, what comes from them, and
// what waits for room on its way to them. Single-threaded; nothing here blocks.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/connection.hpp>
#include <bulkhead/wire/crossing_log.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "host/host.hpp"
#include "watch.hpp"

namespace bulkhead::coordinator {

class DataPlane {
 public:
  // What has happened, told from within take() and drain(). Must not call the plane.
  class Events {
   public:
    // Somebody says that this is its connection. True: it joins.
    virtual bool data_joined(const wire::JoinMessage& join) = 0;
    virtual void data_message(WorkerKey key, v1::ToCoordinator&& message) = 0;
    // It closed its end, after all that it had to say.
    virtual void data_closed(WorkerKey key) = 0;
    // It is gone, or was cut off because of what it sent (`why`; else empty).
    virtual void data_lost(WorkerKey key, const std::string& why) = 0;

   protected:
    ~Events() = default;
  };

  // Listens at `directory`/`name`, the directory private to this process; `events` is borrowed.
  static Result<std::unique_ptr<DataPlane>> open(transport::Kind kind, const std::string& directory,
                                                 const std::string& name, const std::string& token,
                                                 std::uint32_t cost_stride, Events& events);

  // Readable when take() may find something; not while pending().
  int fd() const { return epoll_.get(); }
  bool pending() const { return pending_; }
  // The owner is about to wait for something to happen.
  void begin_wait() { times_.asleep = wire::CrossingLog::now(); }
  // All that has come, but so much from each at a time; and what waited for room goes on.
  void take();
  // All that has come from that one, which is dead.
  void drain(WorkerKey key);

  bool has(WorkerKey key) const { return by_key_.contains(key); }
  // Taken in any case: what there is no room for waits here, as much as credit allows.
  void send(WorkerKey key, const v1::ToWorker& message);
  // What was sent leaves.
  void flush();

  // The times of our side.
  v1::CrossingSamples take_samples() { return log_.take(); }

  // That crossed in either direction.
  std::uint64_t messages() const { return messages_; }
  std::uint64_t bytes() const { return bytes_; }

 private:
  struct Peer {
    Watch watch;
    std::unique_ptr<transport::Connection> connection;
    WorkerKey key{};  // once it has joined
    bool joined = false;
    bool ready = true;        // to be looked at
    bool dirty = false;       // something has not left
    std::uint32_t batch = 0;  // messages since the last flush, and the jobs among them whose
    std::vector<std::uint64_t> looked_at{};  // times are noted
    bool ended = false;
    std::deque<std::string> backlog{};
  };

  // Of messages of one peer that came one after the other.
  struct Results {
    v1::ToCoordinator message;
    std::size_t bytes = 0;
  };

  DataPlane(std::unique_ptr<transport::Listener> listener, std::uint32_t cost_stride,
            Events& events);

  void look();
  void accept();
  void read(Peer& peer, std::size_t most);
  void deliver(Peer& peer, std::string_view bytes, Results& results);
  void hand_over(Peer& peer, Results& results);
  void end(Peer& peer, const std::string& why, bool closed);
  void push_whole(Peer& peer, const v1::ToWorker& message);
  void push(Peer& peer);
  void pump(Peer& peer);
  void push_job(Peer& peer, const v1::Job& job);
  void take_result(Results& results, const wire::ResultMessage& result);
  void note_flush(Peer& peer, std::uint64_t begin);
  void forget_ended();

  const std::unique_ptr<transport::Listener> listener_;
  Events& events_;
  const base::UniqueFd epoll_;
  std::map<std::uint64_t, Peer> peers_;
  std::map<WorkerKey, std::uint64_t> by_key_;
  std::uint64_t next_id_ = 1;  // 0: the listener
  bool pending_ = false;
  std::string scratch_;
  wire::CrossingLog log_;  // lane 0: jobs, 1: results
  wire::ReceiverTimes times_;
  std::uint64_t messages_ = 0;
  std::uint64_t bytes_ = 0;
};

}  // namespace bulkhead::coordinator
