#include "dispatch/network_dispatch.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/text.hpp>

namespace bulkhead::coordinator {
namespace {

constexpr std::uint32_t kMostLostInARow = 20;

}  // namespace

NetworkDispatch::NetworkDispatch(const DispatchSettings& settings, std::vector<std::string> tasks,
                                 std::uint32_t workers)
    : Dispatch(settings), tasks_(std::move(tasks)), workers_(workers), ended_(tasks_.size()) {
  ledger_.grow(tasks_.size());
  source_ended_ = true;  // there are no more tasks than these
}

void NetworkDispatch::fill_boot(v1::Boot& boot) const {
  Dispatch::fill_boot(boot);
  boot.set_workers(workers_);
  for (v1::PlannedFault& planned : *boot.mutable_faults())
    planned.set_operation(settings_.faults[planned.index()].operation);
  boot.set_injects(std::any_of(settings_.faults.begin(), settings_.faults.end(),
                               [](const FaultSpec& fault) { return fault.worker.has_value(); }));
}

void NetworkDispatch::worker_ready(WorkerKey key) {
  gathered_[key.worker] = key;
  begin_when_all_ready();
}

void NetworkDispatch::begin() {
  begun_ = true;
  begin_when_all_ready();
}

void NetworkDispatch::begin_when_all_ready() {
  if (!begun_ || finished() || phase_ != Phase::kGathering || gathered_.size() < workers_) return;
  phase_ = Phase::kRunning;
  ++attempt_;
  attempt_began_ = now_;
  std::fill(ended_.begin(), ended_.end(), std::nullopt);
  given_.reset();
  lost_.reset();
  units_ = messages_ = bytes_ = values_ = 0;
  v1::BeginNetwork begin;
  begin.set_attempt(attempt_);
  current_.clear();
  for (const auto& [worker, key] : gathered_) {
    begin.add_incarnations(key.incarnation);
    current_.insert(key);
  }
  members_.insert(current_.begin(), current_.end());
  gathered_.clear();
  for (const WorkerKey& key : current_) *send(key).mutable_begin_network() = begin;
}

Result<void> NetworkDispatch::message(WorkerKey key, v1::ToCoordinator&& message) {
  if (message.has_pseudo_failed()) {
    give_up(fmt::format("the network could not be made: {}",
                        wire::printable(message.pseudo_failed().error(), 500)));
    return {};
  }
  // Of an attempt that has failed, from a worker that does not know it yet.
  if (!current_.contains(key) && members_.contains(key)) return {};
  if (!current_.contains(key)) return fail(Code::kProtocolError, "spoke before it was to begin");
  if (message.has_task_ended()) return take_end(key, message.task_ended());
  if (!message.has_answer()) {
    return fail(Code::kProtocolError, "sent message {} in the middle of a network",
                static_cast<int>(message.body_case()));
  }
  if (given_) return fail(Code::kProtocolError, "gave a second answer");
  given_ = std::move(*message.mutable_answer());
  return {};
}

// As each worker computes it, too: in blocks.
std::uint32_t NetworkDispatch::worker_of(std::size_t task) const {
  return static_cast<std::uint32_t>(task * workers_ / tasks_.size()) + 1;
}

Result<void> NetworkDispatch::take_end(WorkerKey key, const v1::TaskEnded& ended) {
  if (ended.task() >= tasks_.size() || worker_of(ended.task()) != key.worker)
    return fail(Code::kProtocolError, "told how task {} ended, which it does not have",
                ended.task());
  if (ended_[ended.task()])
    return fail(Code::kProtocolError, "told twice how task {} ended", ended.task());
  if (ended.peer_lost()) {
    // Mostly somebody has died, which is known soon. Where nobody ever has, another try won't help.
    if (++lost_in_a_row_ >= kMostLostInARow) {
      give_up(fmt::format("task '{}' lost its peer {} times, and nobody had died: {}",
                          wire::printable(tasks_[ended.task()], 100), lost_in_a_row_,
                          wire::printable(ended.error(), 500)));
    }
    fail_attempt(std::nullopt);
    return {};
  }
  if (!ended.error().empty()) {
    const std::string error = wire::printable(ended.error(), 500);
    if (ledger_.threw(ended.task(), error)) {
      give_up(
          fmt::format("task '{}' failed: {}", wire::printable(tasks_[ended.task()], 100), error));
    }
    fail_attempt(std::nullopt);
    lost_.reset();  // no death's doing
    return {};
  }
  ended_[ended.task()] = ended.service_seconds();
  units_ += ended.units();
  messages_ += ended.messages();
  bytes_ += ended.bytes();
  values_ += ended.values();
  finish_when_all_ended();
  return {};
}

void NetworkDispatch::finish_when_all_ended() {
  if (finished() || std::any_of(ended_.begin(), ended_.end(),
                                [](const auto& seconds) { return !seconds.has_value(); })) {
    return;
  }
  if (!given_) return give_up("every task has ended, and none gave an answer");
  for (std::size_t task = 0; task < tasks_.size(); ++task) {
    on_service(*ended_[task]);
    ledger_.done_without_bytes(task);
  }
  answer_ = std::move(given_);
}

void NetworkDispatch::fail_attempt(std::optional<WorkerKey> dead) {
  if (phase_ != Phase::kRunning || answer_) return;
  phase_ = Phase::kGathering;
  Loss loss;
  for (const auto& seconds : ended_) ++(seconds ? loss.results_lost : loss.lost_in_flight);
  loss.seconds = base::to_seconds(now_ - attempt_began_);
  ledger_.counts().lost_in_flight += loss.lost_in_flight;
  ledger_.counts().results_lost += loss.results_lost;
  ledger_.counts().retried += loss.at_risk();
  lost_ = loss;
  for (const WorkerKey& key : current_) {
    if (key != dead) replaced_.push_back(key);
  }
  current_.clear();
}

Loss NetworkDispatch::worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blamed,
                                  const std::string& reason) {
  count_fired(key, snapshot);
  const auto waiting = gathered_.find(key.worker);
  if (waiting != gathered_.end() && waiting->second == key) gathered_.erase(waiting);
  if (current_.contains(key)) fail_attempt(key);
  const bool was_member = members_.erase(key) > 0;
  Loss loss;
  if (!was_member || !blamed) return loss;
  lost_in_a_row_ = 0;
  // The first of them to be found dead: what the attempt cost is its doing.
  if (lost_) loss = *std::exchange(lost_, std::nullopt);
  // A kill from outside finds some task in a slot, and a network has no other way to go on than all
  // at once: only who is named, or used up the memory, has an attempt less.
  if (snapshot.culprit() == wire::kNoJob && !snapshot.by_limit) {
    loss.suspects = snapshot.running;
    std::erase_if(loss.suspects, [this](std::uint64_t task) { return task >= tasks_.size(); });
    return loss;
  }
  blame(
      snapshot, reason, [](std::uint64_t) { return true; }, loss);
  for (std::uint64_t task = 0; task < tasks_.size(); ++task) {
    if (!ledger_.is_final(task)) continue;
    give_up(fmt::format("task '{}' was to blame for {} deaths: {}",
                        wire::printable(tasks_[task], 100), ledger_.max_attempts(), reason));
  }
  return loss;
}

}  // namespace bulkhead::coordinator
