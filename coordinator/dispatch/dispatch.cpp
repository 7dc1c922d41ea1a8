#include "dispatch/dispatch.hpp"

#include <algorithm>
#include <bulkhead/wire/fault_draw.hpp>
#include <bulkhead/wire/text.hpp>

namespace bulkhead::coordinator {

Dispatch::Dispatch(const DispatchSettings& settings)
    : settings_(settings),
      ledger_(settings.max_attempts, ResultStore(settings.spill_directory, settings.memory_limit)),
      fired_(settings.faults.size(), 0) {}

void Dispatch::fill_boot(v1::Boot& boot) const {
  for (std::size_t i = 0; i < settings_.faults.size(); ++i) {
    const FaultSpec& fault = settings_.faults[i];
    if (fault.rate == 0 && (!fault.job || still_to_fire(i) == 0)) continue;
    v1::PlannedFault* planned = boot.add_faults();
    planned->set_index(static_cast<std::uint32_t>(i));
    planned->set_kind(fault.kind);
    if (fault.rate > 0) {
      planned->set_rate(fault.rate);
      for (const auto& [index, job] : spent_) {
        if (index == i) planned->add_spent(job);
      }
      continue;
    }
    planned->set_job(*fault.job);
    planned->set_times(still_to_fire(i));
  }
}

std::uint32_t Dispatch::still_to_fire(std::size_t fault) const {
  const std::uint64_t times = settings_.faults[fault].times;
  return static_cast<std::uint32_t>(times - std::min(times, fired_[fault]));
}

std::optional<std::size_t> Dispatch::next_fault(std::uint64_t job) const {
  for (std::size_t i = 0; i < settings_.faults.size(); ++i) {
    const FaultSpec& fault = settings_.faults[i];
    if (fault.job == job && still_to_fire(i) > 0) return i;
    const auto index = static_cast<std::uint32_t>(i);
    if (fault.rate > 0 && wire::draws_fault(settings_.seed, index, job, fault.rate) &&
        !spent_.contains({index, job})) {
      return i;
    }
  }
  return {};
}

std::vector<std::uint32_t>& Dispatch::fired_by(WorkerKey key) {
  const auto entry = std::find_if(fired_by_.begin(), fired_by_.end(),
                                  [&](const auto& known) { return known.first == key; });
  if (entry != fired_by_.end()) return entry->second;
  return fired_by_.emplace_back(key, std::vector<std::uint32_t>(fired_.size(), 0)).second;
}

void Dispatch::count_fired(WorkerKey key, const wire::CrashSnapshot& snapshot) {
  std::vector<std::uint32_t>& seen = fired_by(key);
  for (const auto& [fault, job] : snapshot.fired_jobs) {
    if (fault < fired_.size() && settings_.faults[fault].rate > 0) spent_.insert({fault, job});
  }
  for (std::size_t i = 0; i < fired_.size(); ++i) {
    const std::uint32_t now = snapshot.fired[i];
    if (now > seen[i]) {
      fired_[i] += now - seen[i];
      seen[i] = now;
    }
    // Whoever was struck is noted before it is counted, and may have died in between.
    if (settings_.faults[i].rate > 0) {
      const auto struck = std::count_if(spent_.begin(), spent_.end(),
                                        [&](const auto& entry) { return entry.first == i; });
      fired_[i] = std::max(fired_[i], static_cast<std::uint64_t>(struck));
    }
  }
}

void Dispatch::count_fired_once(WorkerKey key, std::size_t fault, std::uint64_t job) {
  if (settings_.faults[fault].rate > 0) spent_.insert({static_cast<std::uint32_t>(fault), job});
  ++fired_by(key)[fault];
  ++fired_[fault];
}

void Dispatch::blame(const wire::CrashSnapshot& snapshot, const std::string& reason,
                     const std::function<bool(std::uint64_t)>& held, Loss& loss) {
  std::vector<std::uint64_t> blamed = snapshot.running;
  const bool named = snapshot.culprit() != wire::kNoJob;
  if (named) blamed = {snapshot.culprit()};
  for (const std::uint64_t job : blamed) {
    if (job == wire::kSourceJob || job == wire::kReduceJob) {
      pseudo_failure(job == wire::kReduceJob, reason);
      continue;
    }
    if (job >= ledger_.size() || ledger_.is_final(job) || !held(job)) continue;
    ledger_.blame(job, reason);
    if (named) {
      loss.job = job;
    } else {
      loss.suspects.push_back(job);
    }
  }
}

void Dispatch::pseudo_failure(bool reduce, const std::string& error) {
  std::uint32_t& failures = reduce ? reduce_failures_ : source_failures_;
  // Kills from outside often find the source in a slot. One that is to blame comes to the same
  // place each time; where jobs have ended since it was blamed last, it is not that.
  if (!reduce && ledger_.final_count() > std::exchange(source_progress_, ledger_.final_count())) {
    failures = 0;
  }
  if (++failures < settings_.max_attempts) return;
  give_up(fmt::format("the {} failed {} times: {}", reduce ? "reduce step" : "source", failures,
                      wire::printable(error, 500)));
}

}  // namespace bulkhead::coordinator
