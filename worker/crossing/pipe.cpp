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
// about that.
constexpr auto kPause = std::chrono::microseconds(20);

[[noreturn]] void lost(const std::string& name, const Port& port) {
  const std::string why = port.broken();
  throw sched::PeerLost(fmt::format("peer lost: the other end of channel '{}' is gone{}", name,
                                    why.empty() ? "" : ", cut off: it sent " + why));
}

}  // namespace

PipeSender::PipeSender(Port port, std::string name, std::size_t capacity, std::size_t most_bytes)
    : port_(std::move(port)),
      name_(std::move(name)),
      capacity_(capacity),
      most_bytes_(most_bytes),
      credit_(capacity) {}

void PipeSender::need(Outcome outcome) const {
  if (outcome != Outcome::kDone) lost(name_, port_);
}

void PipeSender::send(std::string_view bytes, base::SourceSite site) {
  if (credit_ == 0 && capacity_ > 0) await_credit(site);
  need(port_.send(bytes, site));
  ++messages_;
  bytes_ += bytes.size();
  if (capacity_ == 0) {
    await_credit(site);
    credit_ = 0;
    return;
  }
  --credit_;
  flush_soon(site);
}

// Credit is a matter of the other process: who waits for it is no part of a deadlock here.
void PipeSender::await_credit(base::SourceSite site) {
  flush(site);
  bool stopped = false;
  {
    const sched::ExternalWait external;
    while (credit_ == 0 && !stopped) {
      std::string_view bytes;
      const Outcome outcome = port_.receive(bytes, site);
      stopped = outcome == Outcome::kClosed;
      if (stopped) break;
      need(outcome);
      const auto credit = wire::decode_credit(bytes);
      if (!credit || *credit > std::max<std::size_t>(capacity_, 1)) lost(name_, port_);
      credit_ += *credit;
    }
  }
  // As on any channel from which nobody will receive: for ever, and a deadlock if all do.
  if (stopped) sched::internal::wait_for_ever({sched::ParkReason::kSend, this, site});
}

void PipeSender::flush(base::SourceSite site) {
  need(port_.flush(site));
  flushed_at_ = base::Clock::now();
}

void PipeSender::flush_soon(base::SourceSite site) {
  if (flush_asked_) return;
  if (base::Clock::now() - flushed_at_ >= kPause) return flush(site);
  flush_asked_ = true;
  // No part of any task. It starts when all that can run now has had its turn.
  sched::go(
      [self = shared_from_this()] {
        const std::lock_guard lock(self->mutex());
        self->flush_asked_ = false;
        self->port_.flush();  // a loss is told to whoever sends next
        self->flushed_at_ = base::Clock::now();
      },
      sched::kNoTag);
}

void PipeSender::close() { need(port_.close()); }

PipeReceiver::PipeReceiver(Port port, std::string name, std::size_t capacity)
    : port_(std::move(port)), name_(std::move(name)), capacity_(capacity) {}

bool PipeReceiver::receive(std::string_view& bytes, base::SourceSite site) {
  if (closed_) return false;
  const Outcome outcome = [&] {
    const sched::ExternalWait external;
    return port_.receive(bytes, site);
  }();
  closed_ = outcome == Outcome::kClosed;
  if (closed_) return false;
  if (outcome != Outcome::kDone) lost(name_, port_);
  ++taken_;
  if (taken_ >= std::max<std::size_t>(1, (capacity_ + 1) / 2)) give_back(site);
  return true;
}

// A sender that is gone needs none; that it is gone, what comes next will tell.
void PipeReceiver::give_back(base::SourceSite site) {
  const std::string credit =
      wire::encode_credit(static_cast<std::uint32_t>(std::exchange(taken_, 0)));
  ++messages_;
  bytes_ += credit.size();
  if (port_.send(credit, site) == Outcome::kDone) port_.flush(site);
}

void PipeReceiver::end() { port_.close(); }

}  // namespace bulkhead::crossing
