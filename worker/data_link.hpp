// A worker's end of the data plane: what the coordinator of an isolated model and its worker say to
// each other in the middle of a run. Goroutines use it directly, with no other thread in between.
//
// Results leave in batches of what has accumulated: the first to end asks for a flush, which comes
// when all that could run at that moment has had its turn. Nothing waits for company beyond that,
// nor for longer than kMostGather while jobs keep ending.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <bulkhead/sched/mutex.hpp>
#include <bulkhead/wire/crossing_log.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "crossing/port.hpp"

namespace bulkhead::worker {

class DataLink {
 public:
  // How long a result stays here while others keep ending: a message costs tens of µs, all its ends
  // together. What waits is on the crash page meanwhile, unless it is large.
  static constexpr auto kMostGather = std::chrono::milliseconds(4);

  // Connects and says whose connection this is; on a plain thread, which waits until the
  // coordinator has taken it.
  static Result<std::unique_ptr<DataLink>> join(const v1::Boot& boot);

  // What to ask for along with the next result; called under the sender's lock. Before any send.
  void on_credit(std::function<std::uint32_t()> take_credit) {
    take_credit_ = std::move(take_credit);
  }

  // Thread-safe, in goroutines; they wait where the coordinator does not read. Nothing is said
  // about a connection that is lost: its other end has the power over this process.

  // `encoded`: a ResultMessage, its credit filled in here. `times` of encoding it, if they are
  // noted.
  struct EncodeTimes {
    std::uint64_t job = 0;
    std::uint64_t begin = 0;  // 0: they are not
    std::uint64_t end = 0;
  };
  void send_result(std::string&& encoded, const EncodeTimes& times);
  // At once. A message beyond the limit is a fault of the caller's.
  void send(const v1::ToCoordinator& message);
  void send_pseudo_failed(bool reduce, const std::string& error);
  // Asks for jobs when that is due.
  void ask_for_jobs();
  // All has left, the times included, and nothing follows.
  void close();

  // Whether the times of a job are to be noted; a hint.
  bool looks_at(std::uint64_t job) const { return stride_ != 0 && job % stride_ == 0; }
  // A job's goroutine began with it, and had its input decoded.
  void note_taken(std::uint64_t job, std::uint64_t taken, std::uint64_t decoded);
  // Bytes that one input or result may have to fit into a message.
  std::size_t most_value_bytes() const { return most_message_bytes_ - kEnvelopeBytes; }

  // The next message, valid until the next call; kUnavailable: none will ever come. One goroutine
  // at a time.
  Result<wire::DataMessage> receive();

 private:
  // Room that protobuf's own fields may take in a message that carries one large value.
  static constexpr std::size_t kEnvelopeBytes = 1024;

  DataLink(std::unique_ptr<transport::Connection> connection, const v1::Boot& boot);

  void send_locked(const v1::ToCoordinator& message);
  void flush_locked();
  void gather();

  void note_got(std::uint64_t job);
  void note_copied(const EncodeTimes& times);
  void note_flush(std::uint64_t begin);

  crossing::Port port_;
  const std::size_t most_message_bytes_;
  const bool gathers_;
  const std::uint32_t stride_;
  std::function<std::uint32_t()> take_credit_ = [] { return 0u; };

  sched::Mutex sending_;
  std::string scratch_;           // under sending_
  base::TimePoint flushed_at_{};  // under sending_
  bool flush_asked_ = false;      // under sending_: a goroutine will
  std::uint32_t batch_ = 0;       // under sending_: messages since the last flush, and the jobs
  std::vector<std::uint64_t> looked_at_;  // under sending_: among them whose times are noted

  wire::ReceiverTimes times_;  // whoever receives
  sched::Mutex noting_;
  wire::CrossingLog log_;  // under noting_
};

}  // namespace bulkhead::worker
