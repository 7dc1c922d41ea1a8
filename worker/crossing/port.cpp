#include "crossing/port.hpp"

#include <atomic>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/waiter.hpp>
#include <optional>

#include "sched/await_descriptor.hpp"
#include "sched/pause.hpp"

namespace bulkhead::crossing {
namespace {

// A wait that the other side ends by telling us, with no descriptor. It may tell us before we have
// parked, but must not be overtaken: prepare_to_wait() is over before anybody can go on.
class ToldWait final : public transport::Waker {
 public:
  void wait(Connection& connection, Side side, base::SourceSite site) {
    if (!connection.prepare_to_wait(side, *this)) return;
    const auto reason =
        side == Side::kSender ? sched::ParkReason::kSend : sched::ParkReason::kReceive;
    // The other one may be a plain thread, of which the scheduler knows nothing.
    const sched::ExternalWait external;
    waiter_.park(
        [](void* object) {
          auto& self = *static_cast<ToldWait*>(object);
          State none = kBegun;
          // acq_rel, as in wake(): who comes second sees what the first has done.
          if (!self.state_.compare_exchange_strong(none, kParked, std::memory_order_acq_rel))
            self.waiter_.wake();
        },
        this, {reason, &connection, site});
  }
  void wake() override {
    if (state_.exchange(kTold, std::memory_order_acq_rel) == kParked) waiter_.wake();
  }

 private:
  enum State : std::uint8_t { kBegun, kParked, kTold };
  std::atomic<State> state_{kBegun};
  sched::Waiter waiter_;
};

}  // namespace

void Port::wait(Side side, base::SourceSite site) {
  if (connection_->tells_wakers()) return ToldWait().wait(*connection_, side, site);
  const auto signal = transport::prepare_to_wait(*connection_, side);
  if (!signal) return;
  // Who waits for room may have what others wait for, so as long as it does nobody is deadlocked;
  // what the other end will say, or never, is no part of a deadlock here.
  std::optional<sched::ExternalWait> external;
  if (side == Side::kReceiver) external.emplace();
  if (signal->standing)
    reads_.wait(signal->fd, site);
  else if (signal->writable)
    sched::await_writable(signal->fd, site);
  else
    sched::await_readable(signal->fd, site);
}

template <class Attempt>
Outcome Port::persist(Side side, Patience& patience, base::SourceSite site, Attempt attempt) {
  Outcome outcome = attempt();
  if (outcome != Outcome::kWait) return outcome;
  if (connection_->is_memory()) {
    const unsigned looks = patience.looks();
    for (unsigned look = 0; look < looks; ++look) {
      sched::pause_cpu();
      if (sched::current_task() != nullptr) sched::yield();
      outcome = attempt();
      if (outcome == Outcome::kWait) continue;
      patience.succeeded();
      return outcome;
    }
    if (looks > 0) patience.failed();
  }
  do {
    wait(side, site);
    outcome = attempt();
  } while (outcome == Outcome::kWait);
  return outcome;
}

Outcome Port::send(std::string_view bytes, base::SourceSite site) {
  return persist(Side::kSender, of_sender_, site, [&] { return connection_->send(bytes); });
}

Outcome Port::flush(base::SourceSite site) {
  return persist(Side::kSender, of_sender_, site, [&] { return connection_->flush(); });
}

Outcome Port::close(base::SourceSite site) {
  return persist(Side::kSender, of_sender_, site, [&] { return connection_->close(); });
}

Outcome Port::receive(std::string_view& message, base::SourceSite site) {
  return persist(Side::kReceiver, of_receiver_, site,
                 [&] { return connection_->receive(message); });
}

}  // namespace bulkhead::crossing
