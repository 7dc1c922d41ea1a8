// What fatal signals left behind, from the crash to the end of the command. Naming waits until
// every run is over: no restart is kept waiting and no wall clock runs.
#pragma once

#include <bulkhead/v1/control.pb.h>
#include <bulkhead/v1/report.pb.h>
#include <bulkhead/v1/symbols.pb.h>

#include <bulkhead/base/error.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace bulkhead::coordinator {

// What a worker told in its Hello, without what can't be: at most 256, with sane bounds.
std::vector<v1::Module> checked_modules(const v1::Hello& hello);

// One crash's stack among those kept, and where its process had the modules: they lie elsewhere in
// each process, though the stack is the same.
struct TraceRef {
  std::optional<std::size_t> stack;  // nothing: not kept
  std::vector<std::uint64_t> biases;
};

// Single-threaded. Memory is bounded by kMaxStacks, whatever the number of crashes.
class CrashTraces {
 public:
  static constexpr std::size_t kMaxStacks = 32;

  // Takes the evidence of one crash, and gives its exit what is known at once: addresses, modules.
  TraceRef add(const std::vector<v1::Module>& modules, const wire::CrashSnapshot::Fatal& fatal,
               v1::WorkerExit& exit);

  const v1::SymbolQuestion& question() const { return question_; }
  // The answer to question(), or why there is none.
  void take(Result<v1::SymbolAnswer> answer) { answer_ = std::move(answer); }
  // Gives an exit its names, or a note that says why not.
  void complete(const TraceRef& trace, v1::WorkerExit& exit) const;

 private:
  v1::SymbolQuestion question_;
  std::map<std::string, std::size_t> known_;  // by what makes two stacks the same
  Result<v1::SymbolAnswer> answer_;
};

}  // namespace bulkhead::coordinator
