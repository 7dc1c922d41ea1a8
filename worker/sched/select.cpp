// One select: a quick look at each channel alone, then all of them locked, as in Go's selectgo
// (runtime/select.go).
#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/opaque.hpp>
#include <bulkhead/base/split_mix.hpp>
#include <bulkhead/sched/select.hpp>
#include <functional>
#include <utility>

#include "sched/processor.hpp"

namespace bulkhead::sched {
namespace {

constexpr std::size_t kFew = 8;

// For the order in which the cases are looked at.
BULKHEAD_OPAQUE std::uint32_t random_number() {
  static constinit thread_local std::uint64_t of_thread = 0;
  static constinit std::atomic<std::uint64_t> threads{0};
  if (auto* const processor = static_cast<Processor*>(this_processor()))
    return static_cast<std::uint32_t>(next_random(processor->random) >> 32);
  // Threads begin apart: many do but one select.
  if (of_thread == 0) {
    const std::uint64_t number = 1 + threads.fetch_add(1, std::memory_order_relaxed);
    of_thread = base::split_mix(base::kSplitMixStep * number) | 1;  // never 0
  }
  return static_cast<std::uint32_t>(next_random(of_thread) >> 32);
}

// `cases` into `shuffled`, which may be the same. A number up to `i` is the whole part of a random
// fraction times i + 1, and what remains is a random fraction again, though a shorter one: good for
// eight cases, 8! orders of 2^32.
void shuffle(SelectCase* const* cases, std::size_t count, SelectCase** shuffled) {
  std::uint64_t fraction = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (i % 8 == 0) fraction = random_number();
    const std::uint64_t scaled = fraction * (i + 1);
    SelectCase* const one = cases[i];
    shuffled[i] = shuffled[scaled >> 32];
    shuffled[scaled >> 32] = one;
    fraction = scaled & 0xffffffff;
  }
}

// By address of their locks; stable, and quick for a few.
void sort(SelectCase** cases, std::size_t count) {
  for (std::size_t i = 1; i < count; ++i) {
    SelectCase* const one = cases[i];
    std::size_t at = i;
    for (; at > 0 && std::less<>()(one->lock(), cases[at - 1]->lock()); --at)
      cases[at] = cases[at - 1];
    cases[at] = one;
  }
}

// Cases with the same channel lie side by side.
void lock_all(SelectCase* const* cases, std::size_t count) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  for (std::size_t i = 0; i < count; ++i)
    if (i == 0 || cases[i]->lock() != cases[i - 1]->lock()) cases[i]->lock()->lock();
}

// But for `but`, which is unlocked already. From the last unlock on the cases may be gone.
void unlock_all(SelectCase* const* cases, std::size_t count,
                const BiasedLock* but = nullptr) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  for (std::size_t i = 0; i < count;) {
    BiasedLock* const lock = cases[i]->lock();
    do ++i;
    while (i < count && cases[i]->lock() == lock);
    if (lock != but) lock->unlock();
  }
}

// All of them in one section, without a lock taken, where the caller's processor runs alone.
bool enter_all(ProcessorHead* processor, SelectCase* const* cases, std::size_t count,
               std::uint32_t& outer) {
  if (processor == nullptr || count == 0) return false;
  if (!cases[0]->lock()->bias().enter_alone(*processor, outer)) return false;
  for (std::size_t i = 1; i < count; ++i) {
    if (cases[i]->lock()->bias().covers(*processor)) continue;
    Bias::leave(*processor, outer);
    return false;
  }
  return true;
}

struct Parking {
  bool alone;  // in one section, not locked
  SelectCase** cases;
  std::size_t count;
  Deadline* deadline;
  SchedulerImpl* scheduler;  // nullptr: a plain thread, which looks at the clock itself
};

// Done when the registers are saved. Without any lock held the timer's firing ends the select.
void release(void* object) {
  const Parking parking = *static_cast<Parking*>(object);
  if (parking.deadline != nullptr && parking.scheduler != nullptr)
    parking.scheduler->timers.arm(*parking.deadline,
                                  parking.deadline->at().time_since_epoch().count());
  if (parking.alone)
    Bias::leave(*this_processor());
  else
    unlock_all(parking.cases, parking.count);
}

SelectCase* attempt_each(SelectCase* const* cases,
                         std::size_t count) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  for (std::size_t i = 0; i < count; ++i) {
    BiasedLock& lock = *cases[i]->lock();
    std::uint32_t outer = 0;
    ProcessorHead* const how = lock.lock(outer);
    if (cases[i]->attempt()) return cases[i];
    lock.unlock(how, outer);
  }
  return nullptr;
}

Wait what_for(SelectCase* const* cases, std::size_t count, const Deadline* deadline) {
  if (deadline != nullptr) return {ParkReason::kSelectTimeout, nullptr, deadline->site()};
  if (count == 0) return ParkReason::kSelectNothing;
  return {ParkReason::kSelect, nullptr, cases[0]->site()};
}

}  // namespace

Deadline::Deadline(base::Duration duration, base::SourceSite where)
    : SelectCase(nullptr, where),
      TimerNode{.fire =
                    [](TimerNode& node) {
                      auto& self = static_cast<Deadline&>(node);
                      if (self.selection().claim(self.waiter())) self.waiter().wake();
                    }},
      at_(base::Duration(deadline_after(duration))) {}

void Deadline::enqueue(Selection& selection) {
  selection_ = &selection;
  waiter_.emplace(selection);
}

SelectCase& select_one(SelectCase** cases, std::size_t count, SelectCase* otherwise,
                       Deadline* deadline) BULKHEAD_NO_THREAD_SAFETY_ANALYSIS {
  // Shuffled apart, if there are few: their own order is the same each time, so what sorts them
  // takes the same branches each time.
  std::array<SelectCase*, kFew> few{};
  SelectCase** const shuffled = count <= kFew ? few.data() : cases;
  shuffle(cases, count, shuffled);
  count_operation();
  std::uint32_t outer = 0;
  ProcessorHead* const processor = this_processor();
  const bool alone = enter_all(processor, shuffled, count, outer);
  if (alone) {
    for (std::size_t i = 0; i < count; ++i)
      if (shuffled[i]->attempt()) return *shuffled[i];
  } else {
    if (SelectCase* const ready = attempt_each(shuffled, count)) return *ready;
    // A value may have gone from a channel not yet looked at to one looked at already: so once
    // more, with all of them held. In order of address, so that two selects do not wait for one
    // another. They are tried, and wait, in random order: of one channel's cases the first wins.
    sort(cases, count);
    lock_all(cases, count);
    for (std::size_t i = 0; i < count; ++i) {
      SelectCase& one = *shuffled[i];
      if (one.lock()->untouched() || !one.attempt()) continue;
      unlock_all(cases, count, one.lock());
      return one;
    }
  }
  if (otherwise != nullptr || (deadline != nullptr && deadline->at() <= now())) {
    alone ? Bias::leave(*processor, outer) : unlock_all(cases, count);
    return otherwise != nullptr ? *otherwise : *deadline;
  }

  Selection selection;
  Waiter self(selection);
  for (std::size_t i = 0; i < count; ++i) shuffled[i]->enqueue(selection);
  if (deadline != nullptr) deadline->enqueue(selection);
  Task* const task = current_task();
  Parking parking{alone, cases, count, deadline, task == nullptr ? nullptr : task->scheduler};
  const Wait wait = what_for(cases, count, deadline);
  const bool woken = self.park(&release, &parking, wait,
                               deadline == nullptr ? base::TimePoint::max() : deadline->at());
  if (!woken && !selection.claim(deadline->waiter()))
    self.park([](void*) {}, nullptr, wait);  // somebody is about to wake us

  if (deadline != nullptr && task != nullptr) task->scheduler->timers.disarm(*deadline);
  const Waiter* const winner = selection.winner();
  SelectCase* happened = deadline != nullptr && deadline->owns(winner) ? deadline : nullptr;
  for (std::size_t i = 0; i < count; ++i) {
    if (cases[i]->owns(winner)) {  // off the list already; its channel may be gone
      happened = cases[i];
      continue;
    }
    BiasedLock& lock = *cases[i]->lock();
    ProcessorHead* const how = lock.lock(outer);
    cases[i]->dequeue();
    lock.unlock(how, outer);
  }
  BULKHEAD_CHECK(happened != nullptr, "a select was woken by nobody");
  return *happened;
}

}  // namespace bulkhead::sched
