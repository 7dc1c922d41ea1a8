// Messages and crash pages for tests of the dispatchers, and what came out of one.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "dispatch/dispatch.hpp"

namespace bulkhead::coordinator {

inline v1::ToCoordinator request(std::uint32_t jobs) {
  v1::ToCoordinator message;
  message.mutable_request()->set_jobs(jobs);
  return message;
}

inline v1::ToCoordinator inputs(std::uint64_t first, std::uint64_t count, bool end = false) {
  v1::ToCoordinator message;
  message.mutable_inputs()->set_first(first);
  message.mutable_inputs()->set_end(end);
  for (std::uint64_t i = 0; i < count; ++i) {
    message.mutable_inputs()->add_inputs("input " + std::to_string(first + i));
  }
  return message;
}

inline std::string result_of(std::uint64_t job) { return "result " + std::to_string(job); }

inline void add_result(v1::ToCoordinator& message, std::uint64_t job, std::uint32_t failures = 0) {
  v1::JobResult* entry = message.mutable_results()->add_results();
  entry->set_index(job);
  entry->set_result(result_of(job));
  entry->set_failures(failures);
}

inline void add_error(v1::ToCoordinator& message, std::uint64_t job, std::uint32_t failures = 0) {
  v1::JobResult* entry = message.mutable_results()->add_results();
  entry->set_index(job);
  entry->set_error("it threw");
  entry->set_failures(failures);
}

inline v1::ToCoordinator results(const std::vector<std::uint64_t>& jobs, std::uint32_t credit = 0) {
  v1::ToCoordinator message;
  message.mutable_results()->set_request(credit);
  for (const std::uint64_t job : jobs) add_result(message, job);
  return message;
}

inline v1::ToCoordinator threw(std::uint64_t job, std::uint32_t credit = 1) {
  v1::ToCoordinator message;
  message.mutable_results()->set_request(credit);
  add_error(message, job);
  return message;
}

inline v1::ToCoordinator pseudo_failed(bool reduce) {
  v1::ToCoordinator message;
  message.mutable_pseudo_failed()->set_reduce(reduce);
  message.mutable_pseudo_failed()->set_error("it threw");
  return message;
}

inline v1::ToCoordinator reduce_credit(std::uint32_t batches) {
  v1::ToCoordinator message;
  message.mutable_reduce_credit()->set_batches(batches);
  return message;
}

inline v1::ToCoordinator answer(std::uint64_t jobs, const std::string& checksum = "sum") {
  v1::ToCoordinator message;
  message.mutable_answer()->set_checksum(checksum);
  message.mutable_answer()->set_jobs(jobs);
  return message;
}

inline wire::CrashSnapshot page(std::uint64_t started, std::uint64_t finished,
                                std::vector<std::uint64_t> running = {}) {
  wire::CrashSnapshot snapshot;
  snapshot.started = started;
  snapshot.finished = finished;
  snapshot.running = std::move(running);
  return snapshot;
}

// The crash handler spoke and named `job`.
inline wire::CrashSnapshot fatal(wire::CrashSnapshot snapshot, std::uint64_t job) {
  snapshot.has_fatal = true;
  snapshot.fatal.signal = 11;
  snapshot.fatal.job = job;
  return snapshot;
}

inline FaultSpec fault(v1::FaultKind kind, std::uint64_t job, std::uint32_t times = 1) {
  FaultSpec spec;
  spec.kind = kind;
  spec.job = job;
  spec.times = times;
  return spec;
}

template <class Implementation>
class DispatchFixture : public testing::Test {
 protected:
  static constexpr WorkerKey k1{1, 1};
  static constexpr WorkerKey k2{2, 1};
  static constexpr WorkerKey k3{3, 1};

  DispatchFixture() { make(); }

  void make(DispatchSettings settings = {}) {
    if (settings.spill_directory.empty()) settings.spill_directory = testing::TempDir();
    dispatch_ = std::make_unique<Implementation>(settings);
  }

  // An expected success, failing the test with the reason.
  void tell(WorkerKey key, v1::ToCoordinator message) {
    const auto taken = dispatch_->message(key, std::move(message));
    EXPECT_TRUE(taken) << taken.error().text;
  }
  // The reason for which the sender is ended.
  std::string refused(WorkerKey key, v1::ToCoordinator message) {
    const auto taken = dispatch_->message(key, std::move(message));
    if (taken) return "(accepted)";
    EXPECT_EQ(taken.error().code, Code::kProtocolError);
    return taken.error().text;
  }
  std::vector<v1::ToWorker> sent_to(WorkerKey key) {
    for (Outgoing& outgoing : dispatch_->take_outgoing()) outbox_.push_back(std::move(outgoing));
    std::vector<v1::ToWorker> mine;
    std::vector<Outgoing> others;
    for (Outgoing& outgoing : outbox_) {
      if (outgoing.to == key) {
        mine.push_back(std::move(outgoing.message));
      } else {
        others.push_back(std::move(outgoing));
      }
    }
    outbox_ = std::move(others);
    return mine;
  }
  // Jobs in the messages for one worker, which may hold nothing else but credit for a source.
  std::vector<std::uint64_t> jobs_of(WorkerKey key) {
    std::vector<std::uint64_t> jobs;
    for (const v1::ToWorker& message : sent_to(key)) {
      if (message.has_source_credit()) continue;
      EXPECT_TRUE(message.has_jobs()) << message.ShortDebugString();
      for (const v1::Job& job : message.jobs().jobs()) {
        EXPECT_EQ(job.input(), "input " + std::to_string(job.index()));
        jobs.push_back(job.index());
      }
    }
    return jobs;
  }
  void forget_outgoing() {
    dispatch_->take_outgoing();
    outbox_.clear();
  }
  const LedgerCounts& counts() const { return dispatch_->ledger().counts(); }

  std::unique_ptr<Implementation> dispatch_;

 private:
  std::vector<Outgoing> outbox_;
};

}  // namespace bulkhead::coordinator
