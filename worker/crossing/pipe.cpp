#include "crossing/pipe.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/sched/ends.hpp>
#include <bulkhead/sched/far_ends.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/wire/channel_message.hpp>
#include <mutex>
#include <utility>

namespace bulkhead::crossing {
namespace {

// A value that comes so long after the last flush does not wait for company: to send it alone costs
// about that, by a system call and in memory.
constexpr base::Duration kPause = std::chrono::microseconds(5);
constexpr base::Duration kPauseInMemory = std::chrono::nanoseconds(200);

[[noreturn]] void lost(const std::string& name, const Port& port) {
  const std::string why = port.broken();
  throw sched::PeerLost(fmt::format("peer lost: the other end of channel '{}' is gone{}", name,
                                    why.empty() ? "" : ", cut off: it sent " + why));
}

}  // namespace

PipeSender::PipeSender(Port port, std::string name, std::size_t capacity, std::size_t most_bytes,
                       std::uint32_t cost_stride)
    : port_(std::move(port)),
      name_(std::move(name)),
      capacity_(capacity),
      most_bytes_(most_bytes),
      pause_(port_.is_memory() ? kPauseInMemory : kPause),
      credit_(capacity),
      log_(cost_stride) {}

void PipeSender::need(Outcome outcome) const {
  if (outcome != Outcome::kDone) lost(name_, port_);
}

void PipeSender::begin_value() {
  begun_at_ = log_.looks_at(messages_) ? wire::CrossingLog::now() : 0;
}

void PipeSender::send(std::string_view bytes, base::SourceSite site) {
  std::uint64_t encoded = begun_at_ != 0 ? wire::CrossingLog::now() : 0;
  if (credit_ == 0 && capacity_ > 0) {
    await_credit(site);
    if (begun_at_ != 0) {  // no part of what it costs to cross: the channel was full
      const std::uint64_t waited = wire::CrossingLog::now() - encoded;
      begun_at_ += waited;
      encoded += waited;
    }
  }
  need(port_.send(bytes, site));
  if (begun_at_ != 0) note_copied(encoded);
  ++messages_;
  ++batch_;
  bytes_ += bytes.size();
  if (capacity_ == 0) {
    await_credit(site);
    credit_ = 0;
    return;
  }
  --credit_;
  flush_soon(site);
}

void PipeSender::await_credit(base::SourceSite site) {
  flush(site);
  while (credit_ == 0) {
    std::string_view bytes;
    const Outcome outcome = port_.receive(bytes, site);
    // As on any channel from which nobody will receive: for ever, and a deadlock if all do.
    if (outcome == Outcome::kClosed)
      sched::internal::wait_for_ever({sched::ParkReason::kSend, this, site});
    need(outcome);
    const auto credit = wire::decode_credit(bytes);
    if (!credit || *credit > std::max<std::size_t>(capacity_, 1)) lost(name_, port_);
    credit_ += *credit;
  }
}

void PipeSender::flush(base::SourceSite site) {
  const std::uint64_t begin = looked_at_.empty() ? 0 : wire::CrossingLog::now();
  const Outcome outcome = port_.try_flush();
  // Where each value leaves at once nobody asks when the last one did.
  if (capacity_ > 0 || begin != 0) flushed_at_ = base::Clock::now();
  note_flush(begin);
  need(outcome == Outcome::kWait ? port_.flush(site) : outcome);
}

void PipeSender::note_copied(std::uint64_t encoded) {
  v1::CrossingSample& sample = log_.at(0, messages_);
  sample.set_encode_begin(begun_at_);
  sample.set_encode_end(encoded);
  sample.set_copied(wire::CrossingLog::now());
  looked_at_.push_back(messages_);
}

// The last flush, which began then, took along what was sent, or is still at it: what it waits for,
// a receiver that is busy, is no part of the call.
void PipeSender::note_flush(std::uint64_t begin) {
  const std::uint32_t batch = std::exchange(batch_, 0);
  const auto end = static_cast<std::uint64_t>(flushed_at_.time_since_epoch().count());
  for (const std::uint64_t value : looked_at_) {
    v1::CrossingSample* const sample = log_.find(0, value);
    if (sample == nullptr) continue;
    sample->set_flush_begin(begin);
    sample->set_flush_end(end);
    sample->set_batch(batch);
  }
  looked_at_.clear();
}

void PipeSender::flush_soon(base::SourceSite site) {
  if (flush_asked_) return;
  if (base::Clock::now() - flushed_at_ >= pause_) return flush(site);
  flush_asked_ = true;
  // No part of any task. It starts when all that can run now has had its turn.
  sched::go(
      [self = shared_from_this()] {
        const std::lock_guard lock(self->mutex());
        self->flush_asked_ = false;
        try {
          self->flush(base::SourceSite::current());
        } catch (const sched::PeerLost&) {  // told to whoever sends next
        }
      },
      sched::kNoTag);
}

void PipeSender::close() { need(port_.close()); }

PipeReceiver::PipeReceiver(Port port, std::string name, std::size_t capacity,
                           std::uint32_t cost_stride)
    : port_(std::move(port)),
      name_(std::move(name)),
      capacity_(capacity),
      lends_(capacity > 2),
      log_(cost_stride) {}

bool PipeReceiver::receive(std::string_view& bytes, base::SourceSite site) {
  if (closed_) return false;
  const Outcome outcome = next(bytes, site);
  closed_ = outcome == Outcome::kClosed;
  if (closed_) return false;
  if (outcome != Outcome::kDone) lost(name_, port_);
  const std::uint64_t got = log_.looks_at(received_) ? wire::CrossingLog::now() : 0;
  ++taken_;
  if (!lends_ || taken_ >= (capacity_ + 1) / 2) {
    give_back(site);
  } else {
    give_back_soon();
  }
  if (got != 0) {
    v1::CrossingSample& sample = log_.at(0, received_);
    times_.fill(sample, got);
    sample.set_taken(wire::CrossingLog::now());
  }
  ++received_;
  return true;
}

Outcome PipeReceiver::next(std::string_view& bytes, base::SourceSite site) {
  Outcome outcome = port_.try_receive(bytes);
  if (outcome != Outcome::kWait) return outcome;
  const bool looked_at = log_.looks_at(received_);
  if (looked_at) times_.asleep = wire::CrossingLog::now();
  if (lends_) waiting_.store(true);
  outcome = port_.receive(bytes, site);
  if (lends_) waiting_.store(false);
  if (looked_at) times_.woke = wire::CrossingLog::now();
  return outcome;
}

void PipeReceiver::value_decoded() {
  v1::CrossingSample* const sample = log_.find(0, received_ - 1);
  if (sample == nullptr) return;
  sample->set_decoded(wire::CrossingLog::now());
}

// A sender that is gone needs none; that it is gone, what comes next will tell.
void PipeReceiver::give_back(base::SourceSite site) {
  const std::string credit =
      wire::encode_credit(static_cast<std::uint32_t>(std::exchange(taken_, 0)));
  ++messages_;
  bytes_ += credit.size();
  if (port_.send(credit, site) == Outcome::kDone) port_.flush(site);
}

// There is room for as many values more, so a sender that waits must hear of it although nobody
// receives just then. Nothing is left undone: either the goroutine sees that nobody waits, or
// whoever does comes back after it has taken back that it was asked, and asks again.
void PipeReceiver::give_back_soon() {
  if (give_asked_.exchange(true)) return;
  sched::go(
      [self = shared_from_this()] {
        self->give_asked_.store(false);
        if (self->waiting_.load()) return;
        const std::lock_guard lock(self->mutex());
        if (self->taken_ > 0 && !self->ended_) self->give_back(base::SourceSite::current());
      },
      sched::kNoTag);
}

void PipeReceiver::end() {
  ended_ = true;
  port_.close();
}

}  // namespace bulkhead::crossing
