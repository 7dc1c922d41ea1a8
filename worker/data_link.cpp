#include "data_link.hpp"

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/transport/connection.hpp>
#include <mutex>
#include <utility>
#include <variant>

#include "link.hpp"

namespace bulkhead::worker {
namespace {

Result<void> say(crossing::Port& port, std::string_view bytes) {
  transport::Outcome outcome = port.send(bytes);
  if (outcome == transport::Outcome::kDone) outcome = port.flush();
  if (outcome == transport::Outcome::kDone) return {};
  return fail(Code::kUnavailable, "the coordinator does not take this worker's data connection");
}

}  // namespace

Result<std::unique_ptr<DataLink>> DataLink::join(const v1::Boot& boot) {
  const auto kind = transport::kind_of(boot.transport());
  if (!kind) return fail(Code::kProtocolError, "transport '{}' is unknown here", boot.transport());
  transport::ConnectionOptions options;
  options.max_message_bytes = boot.max_message_bytes();
  options.token = boot.data_token();
  options.window_bytes = transport::bulk_window_bytes(*kind);
  auto connection = transport::connect(*kind, boot.run_directory(), boot.data_name(), options);
  if (!connection) return fail(std::move(connection.error()));
  std::unique_ptr<DataLink> link(new DataLink(std::move(*connection), boot));
  const wire::Identity identity{boot.run_id(), boot.worker(), boot.incarnation()};
  wire::encode(wire::JoinMessage{identity, boot.token()}, link->scratch_);
  if (auto said = say(link->port_, link->scratch_); !said) return fail(std::move(said.error()));
  return link;
}

// In an open loop a result that waits is late.
DataLink::DataLink(std::unique_ptr<transport::Connection> connection, const v1::Boot& boot)
    : port_(std::move(connection)),
      most_message_bytes_(boot.max_message_bytes()),
      gathers_(boot.rate_per_second() == 0),
      stride_(boot.cost_stride()),
      log_(boot.cost_stride()) {}

void DataLink::send_result(std::string&& encoded, const EncodeTimes& times) {
  const std::lock_guard lock(sending_);
  if (const std::uint32_t credit = take_credit_(); credit > 0) wire::set_credit(encoded, credit);
  port_.send(encoded);
  ++batch_;
  if (times.begin != 0) note_copied(times);
  if (!gathers_ || base::Clock::now() - flushed_at_ >= kMostGather) return flush_locked();
  // No part of any job. It starts when all that can run now has had its turn.
  if (!std::exchange(flush_asked_, true)) sched::go([this] { gather(); }, sched::kNoTag);
}

void DataLink::flush_locked() {
  flushed_at_ = base::Clock::now();
  const transport::Outcome outcome = port_.try_flush();
  note_flush(static_cast<std::uint64_t>(flushed_at_.time_since_epoch().count()));
  if (outcome == transport::Outcome::kWait) port_.flush();
}

void DataLink::note_copied(const EncodeTimes& times) {
  const std::uint64_t copied = wire::CrossingLog::now();
  looked_at_.push_back(times.job);
  const std::lock_guard lock(noting_);
  v1::CrossingSample& sample = log_.at(wire::kFromWorker, times.job);
  sample.set_encode_begin(times.begin);
  sample.set_encode_end(times.end);
  sample.set_copied(copied);
}

void DataLink::note_flush(std::uint64_t begin) {
  const std::uint32_t batch = std::exchange(batch_, 0);
  if (looked_at_.empty()) return;
  const std::uint64_t end = wire::CrossingLog::now();
  const std::lock_guard lock(noting_);
  for (const std::uint64_t job : looked_at_) {
    v1::CrossingSample* const sample = log_.find(wire::kFromWorker, job);
    if (sample == nullptr) continue;
    sample->set_flush_begin(begin);
    sample->set_flush_end(end);
    sample->set_batch(batch);
  }
  looked_at_.clear();
}

void DataLink::note_got(std::uint64_t job) {
  const std::uint64_t got = wire::CrossingLog::now();
  const std::lock_guard lock(noting_);
  if (log_.looks_at(job)) times_.fill(log_.at(wire::kToWorker, job), got);
}

void DataLink::note_taken(std::uint64_t job, std::uint64_t taken, std::uint64_t decoded) {
  const std::lock_guard lock(noting_);
  if (v1::CrossingSample* const sample = log_.find(wire::kToWorker, job)) {
    sample->set_taken(taken);
    sample->set_decoded(decoded);
  }
}

void DataLink::gather() {
  const std::lock_guard lock(sending_);
  flush_asked_ = false;
  flush_locked();
}

void DataLink::send(const v1::ToCoordinator& message) {
  const std::lock_guard lock(sending_);
  send_locked(message);
}

void DataLink::send_locked(const v1::ToCoordinator& message) {
  const auto encoded = wire::encode(message, scratch_, most_message_bytes_);
  BULKHEAD_CHECK(encoded.has_value(), "{}", encoded.error().text);
  port_.send(scratch_);
  ++batch_;
  flush_locked();
}

void DataLink::send_pseudo_failed(bool reduce, const std::string& error) {
  send(pseudo_failed(reduce, error));
}

void DataLink::ask_for_jobs() {
  const std::lock_guard lock(sending_);
  const std::uint32_t credit = take_credit_();
  if (credit == 0) return;
  v1::ToCoordinator message;
  message.mutable_request()->set_jobs(credit);
  send_locked(message);
}

void DataLink::close() {
  const std::lock_guard lock(sending_);
  v1::ToCoordinator message;
  {
    const std::lock_guard noting(noting_);
    *message.mutable_crossing_samples() = log_.take();
  }
  if (message.crossing_samples().samples_size() > 0) send_locked(message);
  port_.close();
}

Result<wire::DataMessage> DataLink::receive() {
  std::string_view bytes;
  transport::Outcome outcome = transport::Outcome::kWait;
  if (stride_ != 0) outcome = port_.try_receive(bytes);
  if (outcome == transport::Outcome::kWait) {
    if (stride_ != 0) times_.asleep = wire::CrossingLog::now();
    outcome = port_.receive(bytes);
    if (stride_ != 0) times_.woke = wire::CrossingLog::now();
  }
  if (outcome != transport::Outcome::kDone)
    return fail(Code::kUnavailable, "the coordinator has gone");
  auto message = wire::decode_data(bytes);
  if (const auto* job = message ? std::get_if<wire::JobMessage>(&*message) : nullptr) {
    if (looks_at(job->index)) note_got(job->index);
  }
  return message;
}

}  // namespace bulkhead::worker
