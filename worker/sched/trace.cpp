#include "sched/trace.hpp"

#include <algorithm>
#include <bit>
#include <bulkhead/base/check.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <queue>
#include <unordered_map>
#include <utility>

#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

// A record, and what must come before it: the one before it in its ring, and the one before it of
// its task. The stamps of two processors do not tell that for sure: a processor reads its counter
// while what it has just been handed is still on its way.
struct Node {
  TraceRecord record;
  int processor = -1;
  int waits_for = 0;                  // so many of the two
  std::array<std::size_t, 2> then{};  // for whom it does; 0: none
};

void link(std::vector<Node>& nodes, std::size_t before, std::size_t after, std::size_t which) {
  nodes[before].then[which] = after;
  ++nodes[after].waits_for;
}

void link_tasks(std::vector<Node>& nodes) {
  std::unordered_map<std::uint64_t, std::vector<std::size_t>> of_task;
  for (std::size_t at = 1; at < nodes.size(); ++at)
    if (nodes[at].record.kind != TraceKind::kSteal) of_task[nodes[at].record.task].push_back(at);
  for (auto& [task, places] : of_task) {
    std::sort(places.begin(), places.end(), [&nodes](std::size_t a, std::size_t b) {
      // Numbers may wrap around.
      return static_cast<std::int32_t>(nodes[a].record.number - nodes[b].record.number) < 0;
    });
    for (std::size_t i = 1; i < places.size(); ++i) link(nodes, places[i - 1], places[i], 1);
  }
}

TraceEvent event_of(const Node& node, base::TimePoint time) {
  const TraceRecord& record = node.record;
  TraceEvent event;
  event.time = time;
  event.kind = record.kind;
  event.processor = node.processor;
  event.task = record.task;
  event.number = record.number;
  event.site = {record.file, record.line};
  event.reason = record.reason;
  switch (record.kind) {
    case TraceKind::kGo:
    case TraceKind::kReady:
      event.by = record.detail;
      break;
    case TraceKind::kPark:
      event.object = reinterpret_cast<const void*>(record.detail);
      break;
    case TraceKind::kSteal:
      event.victim = static_cast<unsigned>(record.detail);
      event.count = static_cast<unsigned>(record.detail >> 32);
      break;
    case TraceKind::kStart:
    case TraceKind::kYield:
    case TraceKind::kEnd:
      break;
  }
  return event;
}

}  // namespace

std::uint64_t TraceRing::copy_to(std::vector<TraceRecord>& records) const {
  // acquire pairs with the release in add().
  const std::uint64_t end = written_.load(std::memory_order_acquire);
  const std::size_t size = mask_ + 1;
  const std::size_t before = records.size();
  std::uint64_t at = end > size ? end - size : 0;
  const std::uint64_t begin = at;
  for (; at < end; ++at) {
    const Slot& slot = slots_[at & mask_];
    std::array<std::uint64_t, 5> words{};
    for (std::size_t i = 0; i < words.size(); ++i)
      words[i] = slot[i].load(std::memory_order_acquire);
    records.push_back({.stamp = words[0],
                       .task = words[1],
                       .detail = words[2],
                       .file = reinterpret_cast<const char*>(words[3]),
                       .kind = static_cast<TraceKind>(words[4] & 0xff),
                       .reason = static_cast<ParkReason>(words[4] >> 8 & 0xff),
                       .line = static_cast<std::uint16_t>(words[4] >> 16),
                       .number = static_cast<std::uint32_t>(words[4] >> 32)});
  }
  // The writer may be about to count one more, in whose slot it writes already.
  const std::uint64_t now = written_.load(std::memory_order_relaxed) + 1;
  const std::uint64_t whole = std::clamp(now > size ? now - size : 0, begin, end);
  const auto first = records.begin() + static_cast<std::ptrdiff_t>(before);
  records.erase(first, first + static_cast<std::ptrdiff_t>(whole - begin));
  return whole;
}

Tracer::Tracer(std::size_t processors, std::size_t events) {
  for (std::size_t i = 0; i <= processors; ++i)
    rings_.push_back(std::make_unique<TraceRing>(std::bit_ceil(events)));
}

void Tracer::add_outside(TraceRecord record) {
  LockGuard guard(outside_lock_);
  record.stamp = time_stamp();
  rings_.back()->add(record);
}

TraceSnapshot Tracer::collect() {
  TraceSnapshot trace;
  std::vector<Node> nodes(1);  // the first is no event
  std::vector<TraceRecord> records;
  for (std::size_t ring = 0; ring < rings_.size(); ++ring) {
    records.clear();
    trace.lost += rings_[ring]->copy_to(records);
    const bool outside = ring == rings_.size() - 1;
    for (std::size_t i = 0; i < records.size(); ++i) {
      nodes.push_back({.record = records[i], .processor = outside ? -1 : static_cast<int>(ring)});
      if (i > 0) link(nodes, nodes.size() - 2, nodes.size() - 1, 0);
    }
  }
  link_tasks(nodes);
  // Here, and not earlier: the longer the two clocks have been compared the better they agree.
  const double stamps =
      static_cast<double>(std::max<std::uint64_t>(time_stamp() - first_stamp_, 1));
  const double ns_each = static_cast<double>(base::monotonic_ns() - first_ns_) / stamps;
  const auto later = [&nodes](std::size_t a, std::size_t b) {
    return nodes[a].record.stamp > nodes[b].record.stamp;
  };
  std::priority_queue<std::size_t, std::vector<std::size_t>, decltype(later)> next(later);
  for (std::size_t at = 1; at < nodes.size(); ++at)
    if (nodes[at].waits_for == 0) next.push(at);
  trace.events.reserve(nodes.size() - 1);
  std::uint64_t latest = first_stamp_;
  while (!next.empty()) {
    const Node& node = nodes[next.top()];
    next.pop();
    latest = std::max(latest, node.record.stamp);
    const auto since =
        static_cast<std::int64_t>(static_cast<double>(latest - first_stamp_) * ns_each);
    trace.events.push_back(event_of(node, base::TimePoint(base::Duration(first_ns_ + since))));
    for (const std::size_t after : node.then)
      if (after != 0 && --nodes[after].waits_for == 0) next.push(after);
  }
  BULKHEAD_DCHECK(trace.events.size() == nodes.size() - 1, "a circle of causes");
  return trace;
}

void SchedulerImpl::record(TraceRecord record) {
  auto* const here = static_cast<Processor*>(this_processor());
  if (here == nullptr || &here->scheduler != this) return tracer->add_outside(record);
  record.stamp = time_stamp();
  tracer->ring(here->index).add(record);
}

// Not yet to be seen by others.
void SchedulerImpl::trace_go(const Task& task) {
  const Particulars* const more = particulars_of(task);
  const base::SourceSite site =
      more != nullptr
          ? more->site
          : base::SourceSite{static_cast<const char*>(task.origin.load(std::memory_order_relaxed)),
                             task.line.load(std::memory_order_relaxed)};
  record({.task = task.id.load(std::memory_order_relaxed),
          .detail = actor(),
          .file = site.file,
          .kind = TraceKind::kGo,
          .line = site.line});
}

// Likewise.
void SchedulerImpl::trace_ready(const Task& task) {
  record({.task = task.id.load(std::memory_order_relaxed),
          .detail = actor(),
          .kind = TraceKind::kReady,
          .number = ++task.fiber.load(std::memory_order_relaxed)->events});
}

// The goroutine in whose code the calling thread is; 0: in none.
std::uint64_t SchedulerImpl::actor() const {
  const auto* const here = static_cast<const Processor*>(this_processor());
  if (here == nullptr || here->current == nullptr || here->inside.load(std::memory_order_relaxed))
    return 0;
  return here->current->id.load(std::memory_order_relaxed);
}

// `processor.fiber` is that which it runs on, `current` still the one that leaves. What the switch
// takes counts for the one that comes: a second look at the counter would cost more than the
// switch.
void SchedulerImpl::trace_start(Processor& processor, const Task& task) {
  TraceRing& ring = tracer->ring(processor.index);
  Fiber& fiber = *processor.fiber;
  if (task.fiber.load(std::memory_order_relaxed) == nullptr) fiber.events = 0;  // its first run
  ring.add({.stamp = processor.current != nullptr ? ring.latest() : time_stamp(),
            .task = task.id.load(std::memory_order_relaxed),
            .kind = TraceKind::kStart,
            .number = ++fiber.events});
}

// It runs, and will not in a moment.
void SchedulerImpl::trace_stop(const Task& task, TraceKind kind, const Wait& wait) {
  record({.task = task.id.load(std::memory_order_relaxed),
          .detail = reinterpret_cast<std::uintptr_t>(wait.object),
          .file = wait.site.file,
          .kind = kind,
          .reason = wait.reason,
          .line = wait.site.line,
          .number = ++task.fiber.load(std::memory_order_relaxed)->events});
}

void SchedulerImpl::trace_steal(const Processor& victim, const Task& first, unsigned count) {
  record({.task = first.id.load(std::memory_order_relaxed),
          .detail = victim.index | std::uint64_t{count} << 32,
          .kind = TraceKind::kSteal});
}

const char* to_string(TraceKind kind) {
  switch (kind) {
    case TraceKind::kGo:
      return "go";
    case TraceKind::kReady:
      return "ready";
    case TraceKind::kStart:
      return "start";
    case TraceKind::kPark:
      return "park";
    case TraceKind::kYield:
      return "yield";
    case TraceKind::kEnd:
      return "end";
    case TraceKind::kSteal:
      return "steal";
  }
  return "?";
}

}  // namespace bulkhead::sched
