#include "dispatch/shared_dispatch.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/text.hpp>
#include <utility>

namespace bulkhead::coordinator {
namespace {

constexpr std::uint32_t kResumeBatches = 4;  // unacknowledged at once
// A worker that counts beyond this is not counting jobs; nothing is allocated on its word.
constexpr std::uint64_t kMostJobs = 100'000'000;

constexpr std::uint64_t kMostAhead = 65536;

}  // namespace

// Executions that led to this outcome: those that threw, and one that did not, unless the last
// attempt threw too. At least one, whatever the worker says.
std::uint64_t SharedDispatch::attempts(const v1::JobResult& entry) const {
  const std::uint64_t threw = std::min(entry.failures(), settings_.max_attempts);
  return !entry.has_error() || threw < settings_.max_attempts ? threw + 1 : threw;
}

void SharedDispatch::note_times(const v1::JobResult& entry) const {
  on_service(entry.service_seconds());
  if (open_loop_ && !entry.has_error()) on_latency(entry.latency_seconds());
}

void SharedDispatch::fill_boot(v1::Boot& boot) const {
  Dispatch::fill_boot(boot);
  for (std::uint64_t job = 0; job < ledger_.size(); ++job) {
    const JobEntry entry = ledger_.at(job);
    if (entry.state == JobState::kQuarantined) {
      boot.add_quarantined_jobs(job);
    } else if (ledger_.is_suspect(job)) {
      boot.add_solo_jobs(job);
    }
  }
}

void SharedDispatch::worker_ready(WorkerKey key) {
  BULKHEAD_CHECK(!worker_, "a shared-memory model has one worker");
  worker_ = key;
  received_ = 0;
  next_safe_ = 0;
  resume_credit_ = kResumeBatches;
  begin_sent_ = false;
  summary_.clear();
  if (begun_) stream_safe_results();
}

void SharedDispatch::begin() {
  begun_ = true;
  start_open_loop();
  if (worker_) stream_safe_results();
}

void SharedDispatch::stream_safe_results() {
  if (begin_sent_) return;
  while (resume_credit_ > 0 && next_safe_ < ledger_.size()) {
    v1::SafeResults batch;
    std::size_t bytes = 0;
    for (; next_safe_ < ledger_.size() && bytes < kBatchBytes; ++next_safe_) {
      const JobEntry entry = ledger_.at(next_safe_);
      if (entry.state != JobState::kDone && entry.state != JobState::kFailed) continue;
      v1::JobResult* result = batch.add_results();
      result->set_index(next_safe_);
      result->set_failures(entry.failures);
      if (entry.state == JobState::kFailed) {
        result->set_error("failed");
      } else {
        auto stored = ledger_.store().get(next_safe_);
        if (!stored) return give_up(stored.error().text);
        bytes += stored->size();
        result->set_result(std::move(*stored));
      }
      bytes += 16;
    }
    if (batch.results_size() == 0) break;
    --resume_credit_;
    *send(*worker_).mutable_safe_results() = std::move(batch);
  }
  if (next_safe_ == ledger_.size() && resume_credit_ == kResumeBatches) {
    v1::BeginRun* begin = send(*worker_).mutable_begin();
    if (open_loop_) begin->set_origin_nanoseconds(open_loop_->origin().time_since_epoch().count());
    begin_sent_ = true;
  }
}

Result<void> SharedDispatch::message(WorkerKey key, v1::ToCoordinator&& message) {
  BULKHEAD_CHECK(worker_ == key, "worker {}.{} is not ready", key.worker, key.incarnation);
  switch (message.body_case()) {
    case v1::ToCoordinator::kSafeReceived:
      if (begin_sent_ || resume_credit_ >= kResumeBatches) {
        return fail(Code::kProtocolError, "acknowledged results that it was not sent");
      }
      ++resume_credit_;
      stream_safe_results();
      return {};
    case v1::ToCoordinator::kResults:
      return take_checkpoint(std::move(*message.mutable_results()));
    case v1::ToCoordinator::kAnswer:
      if (!begin_sent_ || message.answer().jobs() > kMostJobs) {
        return fail(Code::kProtocolError, "sent an answer that it can't have");
      }
      if (!finished()) take_answer(std::move(*message.mutable_answer()));
      return {};
    case v1::ToCoordinator::kPseudoFailed: {
      const bool reduce = message.pseudo_failed().reduce();
      // Running it again in the same process would meet the same state: the run ends here.
      give_up(fmt::format("the {} failed: {}", reduce ? "reduce step" : "source",
                          wire::printable(message.pseudo_failed().error(), 500)));
      return {};
    }
    default:
      return fail(Code::kProtocolError, "sent message {} in the middle of a run",
                  static_cast<int>(message.body_case()));
  }
}

Result<void> SharedDispatch::take_checkpoint(v1::ResultBatch&& batch) {
  for (v1::JobResult& entry : *batch.mutable_results()) {
    // Jobs start in order, so at most those in flight are missing before one that has ended.
    const std::uint64_t most = ledger_.size() + settings_.in_flight + kMostAhead;
    if (entry.index() >= std::min(most, kMostJobs)) {
      return fail(Code::kProtocolError, "sent a result of job {}", entry.index());
    }
    ledger_.grow(entry.index() + 1);
    if (ledger_.is_final(entry.index())) {
      return fail(Code::kProtocolError, "sent a second result of job {}", entry.index());
    }
    if (batch.summary()) {
      summary_.push_back(std::move(entry));
      continue;
    }
    received_ += attempts(entry);
    ledger_.counts().retried += attempts(entry) - 1;
    note_times(entry);
    if (entry.has_result()) {
      ledger_.done(entry.index(), entry.result());
    } else {
      ledger_.failed(entry.index(), entry.failures(), wire::printable(entry.error(), 500));
    }
  }
  return {};
}

void SharedDispatch::take_answer(v1::Answer&& answer) {
  source_ended_ = true;
  for (const v1::JobResult& entry : summary_) {
    if (ledger_.is_final(entry.index())) continue;
    ledger_.counts().retried += attempts(entry) - 1;
    note_times(entry);
    if (entry.has_error()) {
      ledger_.failed(entry.index(), entry.failures(), wire::printable(entry.error(), 500));
    } else {
      ledger_.done_without_bytes(entry.index());
    }
  }
  summary_.clear();
  const std::uint64_t jobs = std::max(answer.jobs(), ledger_.size());
  if (ledger_.final_count() != jobs) {
    return give_up(fmt::format("the worker gave an answer with {} of {} jobs accounted for",
                               ledger_.final_count(), jobs));
  }
  answer_ = std::move(answer);
}

void SharedDispatch::late_message(WorkerKey, v1::ToCoordinator&& message) {
  if (!message.has_results() || message.results().summary()) return;
  // A checkpoint on its way when its worker died counts until the next incarnation is told what is
  // safe; afterwards that incarnation runs those jobs again.
  if (worker_) {
    ledger_.counts().duplicates += static_cast<std::uint64_t>(message.results().results_size());
    return;
  }
  LedgerCounts& counts = ledger_.counts();
  v1::ResultBatch open;
  for (v1::JobResult& entry : *message.mutable_results()->mutable_results()) {
    if (ledger_.is_final(entry.index())) {  // blamed once too often, although it had finished
      ++counts.duplicates;
    } else {
      *open.add_results() = std::move(entry);
    }
  }
  const std::uint64_t before = received_;
  // Nobody is left to be condemned for a refusal; what came before it counts.
  static_cast<void>(take_checkpoint(std::move(open)));
  const std::uint64_t saved = received_ - before;
  counts.results_lost = less(counts.results_lost, saved);
  counts.retried = less(counts.retried, saved);
}

Loss SharedDispatch::worker_lost(WorkerKey key, const wire::CrashSnapshot& snapshot, bool blamed,
                                 const std::string& reason) {
  count_fired(key, snapshot);
  Loss loss;
  if (worker_ != key) return loss;
  loss.lost_in_flight = less(snapshot.started, snapshot.finished);
  loss.results_lost = less(snapshot.finished, received_);
  ledger_.counts().lost_in_flight += loss.lost_in_flight;
  ledger_.counts().results_lost += loss.results_lost;
  if (blamed) {
    // A job in a slot may not have been seen yet: the ledger learns of it here. The jobs before it
    // are known, or have started in this incarnation, or are in flight: another processor has taken
    // one up and has not counted its start.
    const std::uint64_t started = std::min(snapshot.started, kMostJobs);
    const std::uint64_t most = std::min(kMostJobs, ledger_.size() + started + settings_.in_flight);
    std::vector<std::uint64_t> seen = snapshot.running;
    seen.push_back(snapshot.culprit());
    for (const std::uint64_t job : seen) {
      if (job < most) ledger_.grow(job + 1);
    }
    const std::uint64_t quarantined = ledger_.counts().quarantined;
    blame(
        snapshot, reason, [](std::uint64_t) { return true; }, loss);
    ledger_.counts().retried += less(loss.at_risk(), ledger_.counts().quarantined - quarantined);
  } else {
    ledger_.counts().retried += loss.at_risk();
  }
  worker_.reset();
  return loss;
}

std::uint64_t SharedDispatch::at_risk(WorkerKey key, const wire::CrashSnapshot& snapshot) const {
  return worker_ == key ? less(snapshot.started, received_) : 0;
}

}  // namespace bulkhead::coordinator
