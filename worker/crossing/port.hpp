// A connection of the data plane as goroutines use it: calls that wait. They work on a plain thread
// too, which they block.
//
// How a wait begins depends on what lies between: rings are looked at for some microseconds first,
// as long as that tends to bring something. So two that are both awake pay for no wake-up, and
// where the other cannot run because we have its core, looking is soon given up. Other goroutines
// run meanwhile.
#pragma once

#include <bulkhead/base/source_site.hpp>
#include <bulkhead/transport/connection.hpp>
#include <memory>
#include <string_view>

#include "sched/standing_read.hpp"

namespace bulkhead::crossing {

using transport::Connection;
using transport::Outcome;
using transport::Side;

// How long to look before one sleeps. One thread at a time.
class Patience {
 public:
  // For the wait that begins now, in looks; 0: none.
  unsigned looks() {
    if (looks_ >= kLeast) return looks_;
    return ++waits_ % kBetweenTrials == 0 ? kLeast : 0;
  }
  void succeeded() { looks_ = kMost; }
  void failed() { looks_ /= 2; }

 private:
  // About what a wake-up across CPUs takes: looking for longer than that could cost more than it
  // saves.
  static constexpr unsigned kMost = 3072;
  static constexpr unsigned kLeast = 64;
  static constexpr unsigned kBetweenTrials = 32;

  unsigned looks_ = kMost / 4;
  unsigned waits_ = 0;
};

// One goroutine at a time sends, and one receives.
class Port {
 public:
  explicit Port(std::unique_ptr<Connection> connection) : connection_(std::move(connection)) {}

  // As in Connection, but never kWait.
  Outcome send(std::string_view bytes, base::SourceSite site = base::SourceSite::current());
  Outcome flush(base::SourceSite site = base::SourceSite::current());
  Outcome close(base::SourceSite site = base::SourceSite::current());
  Outcome receive(std::string_view& message, base::SourceSite site = base::SourceSite::current());

  // As in Connection: kWait when nothing is there yet.
  Outcome try_receive(std::string_view& message) { return connection_->receive(message); }
  Outcome try_flush() { return connection_->flush(); }  // kWait: some of it has not left
  bool is_memory() const { return connection_->is_memory(); }

  std::string broken() const { return connection_->broken(); }

 private:
  template <class Attempt>
  Outcome persist(Side side, Patience& patience, base::SourceSite site, Attempt attempt);

  // Until the side may go on, or for nothing. After kWait.
  void wait(Side side, base::SourceSite site);

  std::unique_ptr<Connection> connection_;
  sched::StandingRead reads_;
  Patience of_sender_;
  Patience of_receiver_;
};

}  // namespace bulkhead::crossing
