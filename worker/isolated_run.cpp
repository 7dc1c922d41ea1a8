#include "isolated_run.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <exception>
#include <utility>

namespace bulkhead::worker {
namespace {

// What a request for jobs and its answer take on a busy machine, and what it may wait for results
// to ride on; the queue covers it.
constexpr base::Duration kRoundTrip = std::chrono::milliseconds(4) + DataLink::kMostGather;
constexpr std::uint64_t kMostQueued = 1024;

}  // namespace

IsolatedRun::IsolatedRun(const v1::Boot& boot, const program::ErasedJobs& program,
                         wire::CrashPage* page, Link& link, DataLink& data)
    : boot_(boot),
      program_(program),
      page_(*page),
      link_(link),
      data_(data),
      runner_(boot, program, page) {
  data_.on_credit([this] { return take_credit(); });
}

void IsolatedRun::main() {
  const sched::ExternalWait external;
  welcomed_.receive();
  data_.ask_for_jobs();
  take_messages();
  never_.receive();
}

// Until the coordinator has gone, or has cut us off: then the lifeline, or a signal, ends us.
void IsolatedRun::take_messages() {
  for (;;) {
    auto message = data_.receive();
    if (!message && message.error().code == Code::kUnavailable) return;
    if (!message) link_.leave(kExitHandshake, message.error().text);
    if (const auto* job = std::get_if<wire::JobMessage>(&*message)) {
      begin_job(job->index, std::string(job->input), std::nullopt);
    } else if (const auto* other = std::get_if<wire::ProtobufMessage>(&*message)) {
      auto decoded = wire::decode_to_worker(other->bytes);
      if (!decoded) link_.leave(kExitHandshake, decoded.error().text);
      take_message(std::move(*decoded));
    } else {
      link_.leave(kExitHandshake, "the coordinator sent what only a worker sends");
    }
  }
}

void IsolatedRun::begin_job(std::uint64_t index, std::string input,
                            std::optional<v1::PlannedFault> fault) {
  received_.fetch_add(1, std::memory_order_relaxed);
  sched::go([this, index, owned = std::move(input),
             planned = std::move(fault)] { run_job(index, owned, planned ? &*planned : nullptr); },
            sched::Tag{index});
}

void IsolatedRun::take_message(v1::ToWorker&& message) {
  switch (message.body_case()) {
    case v1::ToWorker::kJobs:
      for (v1::Job& job : *message.mutable_jobs()->mutable_jobs()) {
        std::optional<v1::PlannedFault> fault;
        if (job.has_fault()) fault = std::move(*job.mutable_fault());
        begin_job(job.index(), std::move(*job.mutable_input()), std::move(fault));
      }
      break;
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
    default:
      break;  // meant for a shared-memory model: nothing to do
  }
}

void IsolatedRun::on_message(v1::ToWorker&& message) {
  if (message.has_inject()) runner_.arm(message.inject().fault());
  // seq_cst, as the four others: either quiescent() sees that the last job has ended, or that job
  // sees the drain and wakes us.
  if (message.has_drain()) draining_.store(true);
}

std::uint64_t IsolatedRun::low_water() const {
  const double service = runner_.recent_service_seconds();
  // Before the first job has ended nobody knows: a little more than the least.
  const double round_trip = service > 0 ? base::to_seconds(kRoundTrip) / service : 2;
  // Jobs that wait leave the processor to others, so more of them end in a round trip than there
  // are processors.
  const std::uint64_t worked = worked_.load(std::memory_order_relaxed);
  const std::uint64_t begun = begun_.load(std::memory_order_relaxed);
  const double running = static_cast<double>(begun - std::min(begun, worked));
  const double at_once = std::max<double>(boot_.processors(), running);
  const double wanted = 2.0 * boot_.processors() + at_once * std::min(round_trip, 1e6);
  return std::min<std::uint64_t>(
      {static_cast<std::uint64_t>(wanted), kMostQueued, boot_.in_flight()});
}

// Two limits: jobs that wait here unstarted (so that nobody hoards), and jobs in flight.
std::uint32_t IsolatedRun::take_credit() {
  const std::uint64_t begun = begun_.load(std::memory_order_relaxed);
  const std::uint64_t worked = worked_.load(std::memory_order_relaxed);
  const std::uint64_t queued = granted_ - std::min(granted_, begun);
  const std::uint64_t out = granted_ - std::min(granted_, worked);
  const std::uint64_t low = std::max<std::uint64_t>(low_water(), 1);
  const std::uint64_t in_flight = boot_.in_flight();
  if (queued >= low || out >= in_flight) return 0;
  const std::uint64_t credit = std::min(low - queued, in_flight - out);
  // Asking for a few at a time would cost a message each; an empty queue asks at once.
  if (credit < (low + 1) / 2 && queued > 0) return 0;
  granted_ += credit;
  return static_cast<std::uint32_t>(credit);
}

// When the last result is on its way, the data plane is closed in a goroutine of its own.
bool IsolatedRun::quiescent() {
  if (received_.load() != ended_.load()) return false;
  if (!std::exchange(closing_, true)) {
    sched::go([this] {
      data_.close();
      closed_.store(true, std::memory_order_release);
      link_.wake();
    });
  }
  return closed_.load(std::memory_order_acquire);  // pairs with the store above: all has left
}

void IsolatedRun::run_job(std::uint64_t index, const std::string& bytes,
                          const v1::PlannedFault* fault) {
  const std::uint64_t begun = begun_.fetch_add(1, std::memory_order_relaxed) + 1;
  if (draining_.load(std::memory_order_relaxed)) return end_job();
  // Nothing is queued any more: ask now. If this job waits, its result asks too late.
  if (begun == received_.load(std::memory_order_relaxed)) data_.ask_for_jobs();
  const bool looked_at = data_.looks_at(index);
  const std::uint64_t taken = looked_at ? wire::CrossingLog::now() : 0;
  DataLink::EncodeTimes times{.job = index};
  wire::ResultMessage result{.index = index};
  std::string text;  // what the result is, or why there is none
  auto input = program_.decode_input(bytes);
  if (!input) {
    text = "the input can't be decoded: " + input.error().text;
    result.threw = true;
  } else {
    if (looked_at) data_.note_taken(index, taken, wire::CrossingLog::now());
    Attempt attempt = runner_.run(*input, fault);
    if (looked_at) times.begin = wire::CrossingLog::now();
    result.service_seconds = attempt.service_seconds;
    result.threw = !attempt.value;
    text = attempt.value ? program_.encode_result(*attempt.value) : std::move(attempt.error);
    if (text.size() > data_.most_value_bytes()) {
      text = fmt::format("the result has {} bytes; at most {} can cross", text.size(),
                         data_.most_value_bytes());
      result.threw = true;
    }
  }
  result.bytes = text;
  std::string encoded;
  wire::encode(result, encoded);
  if (times.begin != 0) times.end = wire::CrossingLog::now();
  wire::keep_result(page_, encoded);
  worked_.fetch_add(1, std::memory_order_relaxed);  // so that its result asks for the next
  data_.send_result(std::move(encoded), times);
  end_job();
}

void IsolatedRun::end_job() {
  ended_.fetch_add(1);  // its result is on its way
  if (draining_.load()) link_.wake();
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
    data_.send(std::exchange(message, {}));
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
      if (encoded.size() > data_.most_value_bytes()) {
        throw std::runtime_error(fmt::format("input {} has {} bytes; at most {} can cross", next,
                                             encoded.size(), data_.most_value_bytes()));
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
    return data_.send_pseudo_failed(false, error.what());
  } catch (...) {
    return data_.send_pseudo_failed(false, "an exception that is not a std::exception");
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
    data_.send(credit);
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
            return data_.send_pseudo_failed(
                true, fmt::format("the result of job {} can't be decoded: {}", entry.index(),
                                  value.error().text));
          }
          reducer->add(entry.index(), &*value);
        }
        ++next;
      }
      credit.mutable_reduce_credit()->set_batches(1);
      data_.send(credit);
    }
    program::Answer answer = reducer->finish();
    v1::ToCoordinator message;
    message.mutable_answer()->set_checksum(std::move(answer.checksum));
    message.mutable_answer()->set_text(std::move(answer.text));
    message.mutable_answer()->set_jobs(jobs);
    data_.send(message);
  } catch (const std::exception& error) {
    data_.send_pseudo_failed(true, error.what());
  } catch (...) {
    data_.send_pseudo_failed(true, "an exception that is not a std::exception");
  }
}

}  // namespace bulkhead::worker
