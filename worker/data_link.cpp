#include "data_link.hpp"

#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/transport/connection.hpp>
#include <mutex>
#include <utility>

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
      gathers_(boot.rate_per_second() == 0) {}

void DataLink::send_result(std::string&& encoded) {
  const std::lock_guard lock(sending_);
  if (const std::uint32_t credit = take_credit_(); credit > 0) wire::set_credit(encoded, credit);
  port_.send(encoded);
  if (!gathers_ || base::Clock::now() - flushed_at_ >= kMostGather) return flush_locked();
  // No part of any job. It starts when all that can run now has had its turn.
  if (!std::exchange(flush_asked_, true)) sched::go([this] { gather(); }, sched::kNoTag);
}

void DataLink::flush_locked() {
  flushed_at_ = base::Clock::now();
  port_.flush();
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
  port_.close();
}

Result<wire::DataMessage> DataLink::receive() {
  std::string_view bytes;
  if (port_.receive(bytes) != transport::Outcome::kDone)
    return fail(Code::kUnavailable, "the coordinator has gone");
  return wire::decode_data(bytes);
}

}  // namespace bulkhead::worker
