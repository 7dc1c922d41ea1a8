// What a job of 100 bytes costs to encode and decode: as a message of the data plane, and as the
// protobuf message of the control plane. Best of 20 rounds, in ns.
#include <bulkhead/v1/control.pb.h>
#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/wire/data_message.hpp>
#include <string>
#include <variant>

namespace {

using namespace bulkhead;

constexpr int kRounds = 20;
constexpr int kJobs = 100'000;

template <class Body>
double best_ns(Body body) {
  double best = 1e9;
  for (int round = 0; round < kRounds; ++round) {
    const std::int64_t begin = base::monotonic_ns();
    for (int job = 0; job < kJobs; ++job) body(static_cast<std::uint64_t>(job));
    best = std::min(best, static_cast<double>(base::monotonic_ns() - begin) / kJobs);
  }
  return best;
}

}  // namespace

int main() {
  const std::string input(100, 'x');
  std::string bytes;
  std::uint64_t sum = 0;
  const double ours = best_ns([&](std::uint64_t job) {
    wire::encode(wire::JobMessage{job, input}, bytes);
    const auto read = wire::decode_data(bytes);
    const auto& message = std::get<wire::JobMessage>(*read);
    sum += message.index + message.input.size();
  });
  const double protobuf = best_ns([&](std::uint64_t job) {
    v1::ToWorker message;
    v1::Job* one = message.mutable_jobs()->add_jobs();
    one->set_index(job);
    one->set_input(input);
    message.SerializeToString(&bytes);
    const auto read = wire::decode_to_worker(bytes);
    sum += read->jobs().jobs(0).index() + read->jobs().jobs(0).input().size();
  });
  BULKHEAD_CHECK(sum > 0);
  fmt::print("a job of {} bytes, encoded and decoded: data plane {:.1f} ns, protobuf {:.1f} ns\n",
             input.size(), ours, protobuf);
}
