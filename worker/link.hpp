// The link thread: owns the socket and the lifeline of a worker. Everybody else queues messages
// here.
//
// It never blocks except in its one wait, and it alone ends the process: with 0 after a drain, with
// 75 when the coordinator is gone.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/mutex.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/transport/zmq.hpp>
#include <deque>
#include <functional>
#include <string>

#include "exit_codes.hpp"

namespace bulkhead::worker {

// What the link thread asks of the rest of the worker; called on the link thread, must not block.
class LinkHandler {
 public:
  virtual ~LinkHandler() = default;
  // The coordinator has taken us in.
  virtual void on_welcome() {}
  virtual void on_message(v1::ToWorker&& message) = 0;
  // While draining: whether all that was started has ended.
  virtual bool quiescent() = 0;
  // Once it is: whether nothing was cut short.
  virtual bool all_ended() const { return true; }
  // Any thread: whether goroutines that only one another could wake are stuck for ever.
  virtual bool can_deadlock() const { return true; }
};

// What is said when somebody sends SIGQUIT, and of what is left at the end; called on the link
// thread.
using Dump = std::function<std::string()>;

// The source or the reduce step threw.
v1::ToCoordinator pseudo_failed(bool reduce, const std::string& error);

class Link {
 public:
  Link(const v1::Boot& boot, std::string program_digest, base::UniqueFd lifeline);

  // Thread-safe; results are batched until the link thread takes them. Order is kept.
  void send(v1::ToCoordinator message);
  void send_result(v1::JobResult result);
  // The source or the reduce step threw.
  void send_pseudo_failed(bool reduce, const std::string& error);
  // Bytes that one input or result may have to fit into a message.
  std::size_t most_value_bytes() const { return boot_.max_message_bytes() - kEnvelopeBytes; }
  // Makes the link thread ask whether all is quiescent.
  void wake();
  // Ends the process, from any thread.
  [[noreturn]] void leave(int code, const std::string& why) const;

  // Connects, shakes hands, then moves messages until the process ends. `leaks`, which may be
  // empty, is asked when all is done, and mostly answers "".
  [[noreturn]] void run(LinkHandler& handler, const Dump& dump, const Dump& leaks = {});
  // Before run(): the worker has joined the data plane.
  void set_data_plane() { data_plane_ = true; }

 private:
  // Room that protobuf's own fields may take in a message that carries one large value.
  static constexpr std::size_t kEnvelopeBytes = 1024;

  void shake_hands(transport::Dealer& dealer);
  std::deque<v1::ToCoordinator> take_queue();
  void flush(transport::Dealer& dealer, LinkHandler& handler);
  void say(const char* about, const std::string& text) const;

  const v1::Boot& boot_;
  const std::string program_digest_;
  const base::UniqueFd lifeline_;
  const base::UniqueFd wake_;  // eventfd
  bool data_plane_ = false;

  base::Mutex mutex_;
  std::deque<v1::ToCoordinator> queue_ BULKHEAD_GUARDED_BY(mutex_);
  std::size_t batch_bytes_ BULKHEAD_GUARDED_BY(mutex_) = 0;  // of a result batch at the queue's end
  bool woken_ BULKHEAD_GUARDED_BY(mutex_) = false;

  // Link thread only.
  std::deque<std::string> backlog_;  // encoded, not accepted by the socket yet
  bool draining_ = false;
  bool said_goodbye_ = false;
};

}  // namespace bulkhead::worker
