// What the goroutines of a scheduler did and when: see Options::trace_events and
// Scheduler::trace().
//
// The events of one goroutine, in the order of their numbers:
//   go  start  (park  ready  start | yield  start)*  end
// From each start to the park, yield or end that follows it runs on the processor of both.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/source_site.hpp>
#include <bulkhead/sched/task.hpp>
#include <cstdint>
#include <vector>

namespace bulkhead::sched {

enum class TraceKind : std::uint8_t {
  kGo,     // go() has made it
  kReady,  // what it waited for has come
  kStart,  // it runs, for the first time or again
  kPark,   // it waits, or sleeps
  kYield,  // it lets others run, if there are any
  kEnd,
  kSteal,  // a processor without work has taken some from another
};
const char* to_string(TraceKind kind);

struct TraceEvent {
  base::TimePoint time{};  // on base::Clock, not in a chooser's time
  TraceKind kind = TraceKind::kGo;
  int processor = -1;        // whose thread did it; -1: the thread of none
  std::uint64_t task = 0;    // kSteal: the first one taken
  std::uint32_t number = 0;  // of the events of this task, from 0; a gap: some are lost
  std::uint64_t by = 0;     // kGo, kReady: the goroutine that did it; 0: none, a timer for instance
  base::SourceSite site{};  // kGo: of the go(); kPark: of the operation
  ParkReason reason = ParkReason::kNone;  // kPark
  const void* object = nullptr;           // kPark: the primitive; perhaps gone, never to be read
  unsigned victim = 0;                    // kSteal: the processor that they were taken from, and
  unsigned count = 0;                     //   how many
};

struct TraceSnapshot {
  std::vector<TraceEvent> events;  // the earliest first; what caused another comes before it
  std::uint64_t lost = 0;          // older ones, that newer ones have overwritten
};

}  // namespace bulkhead::sched
