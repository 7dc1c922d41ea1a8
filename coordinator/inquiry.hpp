// What a worker's executable says of itself before any run. It is launched like any worker, alone,
// with a deadline, and what it says is checked, not trusted.
#pragma once

#include <bulkhead/v1/control.pb.h>

#include <string>
#include <vector>

#include "cli/options.hpp"
#include "host/host.hpp"
#include "interrupts.hpp"

namespace bulkhead::coordinator {

// A Stop says why there is no answer: what to print (nothing after an interrupt), and the exit
// code.
class Inquiry {
 public:
  // Borrows the host and the interrupts.
  Inquiry(Host& host, Interrupts& interrupts, std::string executable)
      : host_(host), interrupts_(interrupts), executable_(std::move(executable)) {}

  // Its programs, their settings and digests.
  tl::expected<v1::WorkerDescription, Stop> describe();
  // Iterations of synthetic work that it does in a second, with nothing else of ours running.
  tl::expected<double, Stop> calibrate();
  // The rows of `bulkhead bench BENCH` that it can run.
  tl::expected<v1::BenchList, Stop> bench_rows(const std::string& bench);

 private:
  tl::unexpected<Stop> refuse(const std::string& text) const;
  tl::expected<std::string, Stop> ask(std::vector<std::string> arguments, const std::string& what);

  Host& host_;
  Interrupts& interrupts_;
  const std::string executable_;
};

}  // namespace bulkhead::coordinator
