#include "dispatch/isolated_dispatch.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <bulkhead/wire/text.hpp>
#include <utility>
#include <variant>

namespace bulkhead::coordinator {
namespace {

// Inputs held at once: enough for every worker to have its queue full while more are on their way.
constexpr std::uint64_t kWindowJobs = 8192;
constexpr std::size_t kWindowBytes = 64u << 20;
constexpr std::uint64_t kFirstGrant = 64;  // before the mean size of an input is known

}  // namespace

IsolatedDispatch::IsolatedDispatch(const DispatchSettings& settings) : Dispatch(settings) {}

IsolatedDispatch::Worker* IsolatedDispatch::find(WorkerKey key) {
  const auto found = workers_.find(key);
  return found == workers_.end() ? nullptr : &found->second;
}

void IsolatedDispatch::worker_ready(WorkerKey key) {
  const bool added = workers_.try_emplace(key).second;
  BULKHEAD_CHECK(added, "worker {}.{} is ready twice", key.worker, key.incarnation);
  advance();
}

void IsolatedDispatch::begin() {
  begun_ = true;
  start_open_loop();
  advance();
}

Result<void> IsolatedDispatch::message(WorkerKey key, v1::ToCoordinator&& message) {
  Worker* worker = find(key);
  BULKHEAD_CHECK(worker != nullptr, "worker {}.{} is not ready", key.worker, key.incarnation);
  Result<void> result;
  switch (message.body_case()) {
    case v1::ToCoordinator::kRequest:
      worker->credit += message.request().jobs();
      break;
    case v1::ToCoordinator::kResults:
      result = take_results(key, *worker, std::move(*message.mutable_results()));
      break;
    case v1::ToCoordinator::kInputs:
      result = take_inputs(key, std::move(*message.mutable_inputs()));
      break;
    case v1::ToCoordinator::kReduceCredit:
      worker->reduce_credit += message.reduce_credit().batches();
      break;
    case v1::ToCoordinator::kAnswer:
      if (reducer_ != key || next_result_ != ledger_.size()) {
        return fail(Code::kProtocolError, "sent an answer that it was not asked for");
      }
      if (!finished()) answer_ = std::move(*message.mutable_answer());
      break;
    case v1::ToCoordinator::kPseudoFailed: {
      const bool reduce = message.pseudo_failed().reduce();
      if ((reduce ? reducer_ : source_) != key) {
        return fail(Code::kProtocolError, "reported the failure of a step that it does not run");
      }
      (reduce ? reducer_ : source_).reset();
      pseudo_failure(reduce, message.pseudo_failed().error());
      break;
    }
    default:
      return fail(Code::kProtocolError, "sent message {} in the middle of a run",
                  static_cast<int>(message.body_case()));
  }
  if (result) advance();
  return result;
}

Result<void> IsolatedDispatch::take_results(WorkerKey key, Worker& worker,
                                            v1::ResultBatch&& batch) {
  for (v1::JobResult& entry : *batch.mutable_results()) {
    const std::uint64_t job = entry.index();
    if (worker.leased.erase(job) == 0) {
      return fail(Code::kProtocolError, "sent a result of job {}, which it does not hold", job);
    }
    if (worker.suspect == job) worker.suspect.reset();
    ++worker.received;
    // Known at once, or the next attempt would meet the fault again.
    const auto fault = entry.has_result() ? std::nullopt : next_fault(job);
    if (fault && settings_.faults[*fault].kind == v1::FAULT_THROW)
      count_fired_once(key, *fault, job);
    settle(std::move(entry));
  }
  worker.credit += batch.request();
  return {};
}

// Most of them arrived long ago; those whose job the worker still holds did not. What threw is run
// again anyway, and may be the trace of an earlier attempt.
void IsolatedDispatch::kept_results(WorkerKey key, const std::vector<std::string>& encoded) {
  Worker* worker = find(key);
  if (worker == nullptr) return;
  for (const std::string& bytes : encoded) {
    const auto message = wire::decode_data(bytes);
    const auto* const result = message ? std::get_if<wire::ResultMessage>(&*message) : nullptr;
    if (result == nullptr || result->threw) continue;
    const std::uint64_t job = result->index;
    if (worker->leased.erase(job) == 0) continue;
    v1::JobResult entry;
    wire::fill(entry, *result);
    ++worker->received;
    rescued_.insert(job);
    settle(std::move(entry));
  }
}

// One outcome of an open job.
void IsolatedDispatch::settle(v1::JobResult&& entry) {
  const std::uint64_t job = entry.index();
  if (entry.has_result()) {
    ledger_.done(job, entry.result());
    on_service(entry.service_seconds());
    if (open_loop_) on_latency(base::to_seconds(now_ - open_loop_->due(job)));
  } else {
    if (!ledger_.threw(job, wire::printable(entry.error(), 500))) {
      ++ledger_.counts().retried;
      return requeue(job, false);
    }
  }
  drop_input(job);
}

void IsolatedDispatch::drop_input(std::uint64_t job) {
  const auto found = inputs_.find(job);
  if (found == inputs_.end()) return;
  input_bytes_ -= found->second.size();
  inputs_.erase(found);
}

// In an open loop it is due already, and those at the back are not.
void IsolatedDispatch::requeue(std::uint64_t job, bool front) {
  if (ledger_.is_suspect(job)) {
    solo_.push_back(job);
  } else if (front || open_loop_) {
    queue_.push_front(job);
  } else {
    queue_.push_back(job);
  }
}

Result<void> IsolatedDispatch::take_inputs(WorkerKey key, v1::InputBatch&& batch) {
  if (source_ != key) return {};  // an earlier source that this worker was asked to run and failed
  if (batch.first() != ledger_.size()) {
    return fail(Code::kProtocolError, "sent inputs from job {} on where job {} was due",
                batch.first(), ledger_.size());
  }
  if (ledger_.size() + static_cast<std::uint64_t>(batch.inputs_size()) > source_granted_) {
    return fail(Code::kProtocolError, "sent {} inputs where {} were granted", batch.inputs_size(),
                less(source_granted_, ledger_.size()));
  }
  for (std::string& input : *batch.mutable_inputs()) {
    const std::uint64_t job = ledger_.size();
    ledger_.grow(job + 1);
    input_bytes_ += input.size();
    all_input_bytes_ += input.size();
    inputs_[job] = std::move(input);
    queue_.push_back(job);
  }
  if (batch.end()) {
    source_ended_ = true;
    source_.reset();
  }
  return {};
}

void IsolatedDispatch::late_message(WorkerKey key, v1::ToCoordinator&& message) {
  if (!message.has_results()) return;
  for (v1::JobResult& entry : *message.mutable_results()->mutable_results()) {
    const std::uint64_t job = entry.index();
    if (rescued_.erase(job) > 0) continue;
    const auto lost = lost_from_.find(job);
    const bool still_open = lost != lost_from_.end() && lost->second == key &&
                            !ledger_.is_final(job) && entry.has_result();
    if (!still_open) {
      ++ledger_.counts().duplicates;
      continue;
    }
    // It was on its way when its worker died: nothing was lost after all. Its place in a queue is
    // skipped when its turn comes.
    lost_from_.erase(lost);
    LedgerCounts& counts = ledger_.counts();
    counts.results_lost -= std::min<std::uint64_t>(counts.results_lost, 1);
    counts.retried -= std::min<std::uint64_t>(counts.retried, 1);
    settle(std::move(entry));
  }
  advance();
}

Loss IsolatedDispatch::worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blamed,
                                   const std::string& reason) {
  count_fired(key, snapshot);
  Worker* worker = find(key);
  if (worker == nullptr) return {};  // it never was ready: it held nothing
  Loss loss;
  loss.lost_in_flight = less(snapshot.started, snapshot.finished);
  loss.results_lost = less(snapshot.finished, worker->received);
  // The page is a hint: a worker can't lose more than it held.
  const std::uint64_t held = worker->leased.size();
  loss.lost_in_flight = std::min(loss.lost_in_flight, held);
  loss.results_lost = std::min(loss.results_lost, held - loss.lost_in_flight);
  ledger_.counts().lost_in_flight += loss.lost_in_flight;
  ledger_.counts().results_lost += loss.results_lost;

  const std::uint64_t quarantined = ledger_.counts().quarantined;
  if (blamed) {
    blame(
        snapshot, reason, [&](std::uint64_t job) { return worker->leased.contains(job); }, loss);
  }
  ledger_.counts().retried += less(loss.at_risk(), ledger_.counts().quarantined - quarantined);

  std::vector<std::uint64_t> leased(worker->leased.begin(), worker->leased.end());
  std::sort(leased.begin(), leased.end(), std::greater<>());  // so that push_front restores order
  for (const std::uint64_t job : leased) {
    if (ledger_.is_final(job)) {
      drop_input(job);
    } else {
      lost_from_[job] = key;
      requeue(job, true);
    }
  }
  workers_.erase(key);
  if (source_ == key) source_.reset();
  if (reducer_ == key) reducer_.reset();
  advance();
  return loss;
}

std::uint64_t IsolatedDispatch::at_risk(WorkerKey key, const wire::CrashSnapshot& snapshot) const {
  const auto found = workers_.find(key);
  if (found == workers_.end()) return 0;
  const std::uint64_t received = found->second.received;
  // Of what was kept, the ring still has the newest.
  const std::uint64_t kept = std::min(snapshot.kept, received + wire::kKeptResults);
  return less(snapshot.started, std::max(received, kept));
}

void IsolatedDispatch::advance() {
  if (!begun_ || finished() || workers_.empty()) return;
  feed_source();
  lease_suspect();
  lease_jobs();
  reduce();
}

void IsolatedDispatch::feed_source() {
  if (source_ended_) return;
  const std::uint64_t known = ledger_.size();
  const std::uint64_t open = known - ledger_.final_count();
  const std::size_t mean = known == 0 ? 1 : std::max<std::size_t>(all_input_bytes_ / known, 1);
  std::uint64_t room = known == 0 ? kFirstGrant : less(kWindowBytes, input_bytes_) / mean;
  room = std::min(room, less(kWindowJobs, open));
  if (open == 0) room = std::max<std::uint64_t>(room, 1);  // one huge input must still pass
  if (!source_) {
    if (room == 0) return;
    // The least loaded worker, and not one that is kept for a suspect.
    const WorkerKey* best = nullptr;
    std::size_t load = 0;
    for (const auto& [key, worker] : workers_) {
      const std::size_t its = worker.leased.size() + (worker.suspect ? kWindowJobs : 0);
      if (best == nullptr || its < load) best = &key, load = its;
    }
    source_ = *best;
    source_granted_ = known + room;
    v1::OpenSource* source = send(*source_).mutable_open_source();
    source->set_from(known);
    source->set_credit(static_cast<std::uint32_t>(room));
    return;
  }
  const std::uint64_t wanted = known + room;
  // A message for every input would be dear: wait until a quarter of the window is free.
  const std::uint64_t grant = less(wanted, source_granted_);
  if (grant == 0 || (grant < kWindowJobs / 4 && source_granted_ > known)) return;
  source_granted_ += grant;
  send(*source_).mutable_source_credit()->set_inputs(static_cast<std::uint32_t>(grant));
}

v1::Job IsolatedDispatch::make_job(std::uint64_t job) const {
  v1::Job message;
  message.set_index(job);
  message.set_input(inputs_.at(job));
  if (const auto fault = next_fault(job)) {
    v1::PlannedFault* planned = message.mutable_fault();
    planned->set_index(static_cast<std::uint32_t>(*fault));
    planned->set_kind(settings_.faults[*fault].kind);
    planned->set_job(job);
    planned->set_times(1);
    planned->set_rate(settings_.faults[*fault].rate);
  }
  return message;
}

void IsolatedDispatch::take_lease(Worker& worker, std::uint64_t job) {
  --worker.credit;
  worker.leased.insert(job);
  lost_from_.erase(job);
}

// A suspect runs in a worker that holds nothing else, so that its next death names it beyond doubt.
void IsolatedDispatch::lease_suspect() {
  while (!solo_.empty() && ledger_.is_final(solo_.front())) {  // its result came late
    for (auto& [key, worker] : workers_) {
      if (worker.suspect == solo_.front()) worker.suspect.reset();
    }
    solo_.pop_front();
  }
  if (solo_.empty()) return;
  const std::uint64_t job = solo_.front();
  WorkerKey key;
  Worker* chosen = nullptr;
  for (auto& [candidate, worker] : workers_) {
    if (worker.suspect == job) {
      key = candidate, chosen = &worker;
      break;
    }
    if (worker.suspect) continue;
    // The source would be another suspect: it is avoided where there is a choice.
    const auto rank = [&](const WorkerKey& k, const Worker& w) {
      return w.leased.size() + (source_ == k ? kWindowJobs : 0);
    };
    if (chosen == nullptr || rank(candidate, worker) < rank(key, *chosen)) {
      key = candidate, chosen = &worker;
    }
  }
  if (chosen == nullptr) return;
  chosen->suspect = job;
  if (!chosen->leased.empty() || chosen->credit == 0) return;
  solo_.pop_front();
  take_lease(*chosen, job);
  *send(key).mutable_jobs()->add_jobs() = make_job(job);
}

std::optional<base::TimePoint> IsolatedDispatch::next_due() const {
  if (!open_loop_ || finished() || queue_.empty()) return {};
  const base::TimePoint due = open_loop_->due(queue_.front());
  // One that is due waits for room in a worker, which is told by a message.
  const bool room = std::any_of(workers_.begin(), workers_.end(), [](const auto& entry) {
    return entry.second.credit > 0 && !entry.second.suspect;
  });
  return due > now_ && room ? std::optional(due) : std::nullopt;
}

// Of the workers of which one has credit, one that has some: in turn. In an open loop the one that
// holds the fewest jobs: what waits behind others there is late.
std::size_t IsolatedDispatch::choose(const std::vector<std::pair<WorkerKey, Worker*>>& able) {
  while (able[turn_ % able.size()].second->credit == 0) ++turn_;
  std::size_t best = turn_++ % able.size();
  if (!open_loop_) return best;
  for (std::size_t i = 0; i < able.size(); ++i) {
    const Worker& worker = *able[i].second;
    if (worker.credit > 0 && worker.leased.size() < able[best].second->leased.size()) best = i;
  }
  return best;
}

void IsolatedDispatch::lease_jobs() {
  // Jobs would slow down the source that shares their processor, and so starve everybody else: its
  // worker gets some only when there are more than the others can take.
  std::uint64_t others = 0;
  for (const auto& [key, worker] : workers_) {
    if (source_ != key && !worker.suspect) others += worker.credit;
  }
  std::vector<std::pair<WorkerKey, Worker*>> able;
  for (auto& [key, worker] : workers_) {
    if (worker.credit == 0 || worker.suspect) continue;
    if (source_ == key && queue_.size() <= others) continue;
    able.emplace_back(key, &worker);
  }
  std::vector<v1::JobBatch> batches(able.size());
  std::vector<std::size_t> bytes(able.size(), 0);
  const auto flush = [&](std::size_t i) {
    *send(able[i].first).mutable_jobs() = std::exchange(batches[i], {});
    bytes[i] = 0;
  };
  std::size_t left = able.size();
  while (left > 0 && !queue_.empty()) {
    const std::uint64_t job = queue_.front();
    if (ledger_.is_final(job) || !inputs_.contains(job)) {
      queue_.pop_front();
      continue;
    }
    if (open_loop_ && open_loop_->due(job) > now_) break;
    const std::size_t i = choose(able);
    Worker& worker = *able[i].second;
    queue_.pop_front();
    take_lease(worker, job);
    if (worker.credit == 0) --left;
    v1::Job message = make_job(job);
    if (bytes[i] > 0 && bytes[i] + message.input().size() > kBatchBytes) flush(i);
    bytes[i] += message.input().size() + 1;
    *batches[i].add_jobs() = std::move(message);
  }
  for (std::size_t i = 0; i < able.size(); ++i) {
    if (bytes[i] > 0) flush(i);
  }
}

void IsolatedDispatch::reduce() {
  if (!every_job_final()) return;
  if (!reducer_) {
    reducer_ = workers_.begin()->first;
    next_result_ = 0;
    workers_.begin()->second.reduce_credit = 0;
    send(*reducer_).mutable_open_reduce()->set_jobs(ledger_.size());
    return;
  }
  Worker& worker = *find(*reducer_);
  while (worker.reduce_credit > 0 && next_result_ < ledger_.size()) {
    --worker.reduce_credit;
    v1::ReduceResults* batch = send(*reducer_).mutable_reduce_results();
    std::size_t bytes = 0;
    while (next_result_ < ledger_.size() && bytes < kBatchBytes) {
      v1::JobResult* entry = batch->add_results();
      entry->set_index(next_result_);
      if (ledger_.at(next_result_).state == JobState::kDone) {
        auto stored = ledger_.store().get(next_result_);
        if (!stored) return give_up(stored.error().text);
        if (bytes > 0 && bytes + stored->size() > kBatchBytes) {
          batch->mutable_results()->RemoveLast();
          break;
        }
        bytes += stored->size();
        entry->set_result(std::move(*stored));
      }
      bytes += 16;
      ++next_result_;
    }
    batch->set_end(next_result_ == ledger_.size());
  }
}

}  // namespace bulkhead::coordinator
