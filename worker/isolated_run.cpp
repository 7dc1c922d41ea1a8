#include "isolated_run.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <exception>
#include <utility>

namespace bulkhead::worker {
namespace {

// What a request for jobs and its answer take on a busy machine; the queue covers it.
constexpr double kRoundTripSeconds = 4e-3;
constexpr std::uint64_t kMostQueued = 1024;
// A message costs some 50 to 100 µs of processor time, all its ends together: results of short jobs
// share one. What waits lies on the crash page meanwhile, except for large results: those are at
// risk for as long, some five jobs, and never more than 5 ms.
constexpr double kShortJobSeconds = 5e-3;
constexpr auto kLeastGather = std::chrono::microseconds(1000);
constexpr auto kMostGather = std::chrono::milliseconds(5);

}  // namespace

IsolatedRun::IsolatedRun(const v1::Boot& boot, const program::ErasedJobs& program,
                         wire::CrashPage* page, Link& link)
    : boot_(boot), program_(program), page_(*page), link_(link), runner_(boot, program, page) {}

void IsolatedRun::main() {
  const sched::ExternalWait external;
  never_.receive();
}

void IsolatedRun::on_message(v1::ToWorker&& message) {
  switch (message.body_case()) {
    case v1::ToWorker::kJobs: {
      auto* jobs = message.mutable_jobs()->mutable_jobs();
      received_.fetch_add(static_cast<std::uint64_t>(jobs->size()), std::memory_order_relaxed);
      for (v1::Job& job : *jobs) {
        const sched::Tag tag = job.index();
        sched::go([this, owned = std::move(job)] { run_job(owned); }, tag);
      }
      break;
    }
    case v1::ToWorker::kOpenSource: {
      const auto& open = message.open_source();
      while (source_credit_.try_receive()) {  // left over from a source that threw
      }
      for (std::uint32_t i = 0; i < open.credit(); ++i) source_credit_.try_send(0);
      sched::go([this, from = open.from()] { run_source(from); }, wire::kSourceJob);
      break;
    }
    case v1::ToWorker::kSourceCredit:
      for (std::uint32_t i = 0; i < message.source_credit().inputs(); ++i) {
        source_credit_.try_send(0);
      }
      break;
    case v1::ToWorker::kOpenReduce:
      while (reduce_batches_.try_receive()) {  // left over from a reduce step that threw
      }
      sched::go([this, jobs = message.open_reduce().jobs()] { run_reduce(jobs); },
                wire::kReduceJob);
      break;
    case v1::ToWorker::kReduceResults:
      // The coordinator sends within our credit, which is the channel's capacity.
      reduce_batches_.try_send(std::move(*message.mutable_reduce_results()));
      break;
    case v1::ToWorker::kInject:
      runner_.arm(message.inject().fault());
      break;
    case v1::ToWorker::kDrain:
      draining_.store(true, std::memory_order_relaxed);
      break;
    default:
      break;  // welcome again, or meant for a shared-memory model: nothing to do
  }
}

std::uint64_t IsolatedRun::low_water() const {
  const double service = runner_.recent_service_seconds();
  // Before the first job has ended nobody knows: a little more than the least.
  const double round_trip =
      service > 0 ? (kRoundTripSeconds + base::to_seconds(patience())) / service : 2;
  // Jobs that wait leave the processor to others, so more of them end in a round trip than there
  // are processors.
  const std::uint64_t ended = ended_.load(std::memory_order_relaxed);
  const std::uint64_t begun = begun_.load(std::memory_order_relaxed);
  const double running = static_cast<double>(begun - std::min(begun, ended));
  const double at_once = std::max<double>(boot_.processors(), running);
  const double wanted = 2.0 * boot_.processors() + at_once * std::min(round_trip, 1e6);
  return std::min<std::uint64_t>(
      {static_cast<std::uint64_t>(wanted), kMostQueued, boot_.in_flight()});
}

// Two limits: jobs that wait here unstarted (so that nobody hoards), and jobs in flight.
std::uint32_t IsolatedRun::take_credit() {
  const std::uint64_t begun = begun_.load(std::memory_order_relaxed);
  const std::uint64_t ended = ended_.load(std::memory_order_relaxed);
  const std::uint64_t queued = granted_ - std::min(granted_, begun);
  const std::uint64_t out = granted_ - std::min(granted_, ended);
  const std::uint64_t low = std::max<std::uint64_t>(low_water(), 1);
  const std::uint64_t in_flight = boot_.in_flight();
  if (queued >= low || out >= in_flight) return 0;
  const std::uint64_t credit = std::min(low - queued, in_flight - out);
  // Asking for a few at a time would cost a message each; an empty queue asks at once.
  if (credit < (low + 1) / 2 && queued > 0) return 0;
  granted_ += credit;
  return static_cast<std::uint32_t>(credit);
}

base::Duration IsolatedRun::patience() const {
  // In an open loop a result that waits is late.
  if (boot_.rate_per_second() > 0) return base::Duration(0);
  const double service = runner_.recent_service_seconds();
  if (service == 0 || service >= kShortJobSeconds) return base::Duration(0);
  // With nothing left to do here somebody may be waiting for these.
  if (received_.load(std::memory_order_relaxed) == ended_.load(std::memory_order_relaxed)) {
    return base::Duration(0);
  }
  const auto some = std::chrono::duration<double>(5 * service);
  return std::clamp<base::Duration>(std::chrono::duration_cast<base::Duration>(some), kLeastGather,
                                    kMostGather);
}

bool IsolatedRun::quiescent() {
  return received_.load(std::memory_order_acquire) == ended_.load(std::memory_order_acquire);
}

void IsolatedRun::run_job(const v1::Job& job) {
  const std::uint64_t begun = begun_.fetch_add(1, std::memory_order_relaxed) + 1;
  // Nothing is queued any more: ask now. If this job waits, its result wakes the link too late.
  if (begun == received_.load(std::memory_order_relaxed)) link_.wake();
  if (draining_.load(std::memory_order_relaxed)) {
    ended_.fetch_add(1, std::memory_order_release);
    link_.wake();
    return;
  }
  v1::JobResult result;
  result.set_index(job.index());
  auto input = program_.decode_input(job.input());
  if (!input) {
    result.set_error("the input can't be decoded: " + input.error().text);
  } else {
    Attempt attempt = runner_.run(*input, job.has_fault() ? &job.fault() : nullptr);
    result.set_service_seconds(attempt.service_seconds);
    if (attempt.value) {
      std::string bytes = program_.encode_result(*attempt.value);
      if (bytes.size() > link_.most_value_bytes()) {
        result.set_error(fmt::format("the result has {} bytes; at most {} can cross", bytes.size(),
                                     link_.most_value_bytes()));
      } else {
        result.set_result(std::move(bytes));
      }
    } else {
      result.set_error(std::move(attempt.error));
    }
  }
  if (result.ByteSizeLong() <= wire::kKeptBytes) {
    wire::keep_result(page_, result.SerializeAsString());
  }
  link_.send_result(std::move(result));
  ended_.fetch_add(1, std::memory_order_release);  // pairs with quiescent(): the result is queued
  link_.wake();
}

void IsolatedRun::run_source(std::uint64_t from) {
  constexpr std::size_t kBatchBytes = 64 * 1024;
  constexpr auto kFlushAfter = std::chrono::milliseconds(1);
  v1::ToCoordinator message;
  std::size_t bytes = 0;
  std::uint64_t next = from;
  base::TimePoint last_flush = base::Clock::now();
  const auto flush = [&](bool end) {
    message.mutable_inputs()->set_end(end);
    link_.send(std::exchange(message, {}));
    bytes = 0;
    last_flush = base::Clock::now();
  };
  try {
    program_.source(from, [&](program::Value input) {
      if (draining_.load(std::memory_order_relaxed)) return false;
      if (!source_credit_.try_receive()) {
        if (bytes > 0) flush(false);
        const sched::ExternalWait external;
        source_credit_.receive();
      }
      std::string encoded = program_.encode_input(input);
      if (encoded.size() > link_.most_value_bytes()) {
        throw std::runtime_error(fmt::format("input {} has {} bytes; at most {} can cross", next,
                                             encoded.size(), link_.most_value_bytes()));
      }
      if (bytes > 0 && bytes + encoded.size() > kBatchBytes) flush(false);
      if (bytes == 0) message.mutable_inputs()->set_first(next);
      bytes += encoded.size() + 1;
      message.mutable_inputs()->add_inputs(std::move(encoded));
      ++next;
      if (bytes >= kBatchBytes || base::Clock::now() - last_flush > kFlushAfter) {
        flush(false);
        sched::yield();  // let jobs run on this processor
      }
      return true;
    });
  } catch (const std::exception& error) {
    return link_.send_pseudo_failed(false, error.what());
  } catch (...) {
    return link_.send_pseudo_failed(false, "an exception that is not a std::exception");
  }
  // Stopped by the drain: it may have had more to give, so this is no end.
  if (draining_.load(std::memory_order_relaxed)) return;
  if (bytes == 0) message.mutable_inputs()->set_first(next);
  flush(true);
}

void IsolatedRun::run_reduce(std::uint64_t jobs) {
  try {
    const auto reducer = program_.reducer();
    std::uint64_t next = 0;
    v1::ToCoordinator credit;
    credit.mutable_reduce_credit()->set_batches(kReduceBatches);
    link_.send(credit);
    while (next < jobs) {
      const auto batch = [this] {
        const sched::ExternalWait external;
        return reduce_batches_.receive();
      }();
      for (const auto& entry : batch->results()) {
        if (!entry.has_result()) {
          reducer->add(entry.index(), nullptr);
        } else {
          auto value = program_.decode_result(entry.result());
          if (!value) {
            return link_.send_pseudo_failed(
                true, fmt::format("the result of job {} can't be decoded: {}", entry.index(),
                                  value.error().text));
          }
          reducer->add(entry.index(), &*value);
        }
        ++next;
      }
      credit.mutable_reduce_credit()->set_batches(1);
      link_.send(credit);
    }
    program::Answer answer = reducer->finish();
    v1::ToCoordinator message;
    message.mutable_answer()->set_checksum(std::move(answer.checksum));
    message.mutable_answer()->set_text(std::move(answer.text));
    message.mutable_answer()->set_jobs(jobs);
    link_.send(std::move(message));
  } catch (const std::exception& error) {
    link_.send_pseudo_failed(true, error.what());
  } catch (...) {
    link_.send_pseudo_failed(true, "an exception that is not a std::exception");
  }
}

}  // namespace bulkhead::worker
