// A program of nothing but computing, for measurements: how much is a setting that the answer does
// not depend on, so that one side of a comparison can be made slower by a known share.
#include <bulkhead/program.hpp>
#include <cstdint>
#include <string>
#include <tuple>

namespace {

namespace program = bulkhead::program;

class Spinner {
 public:
  using Input = std::uint64_t;
  using Result = std::uint64_t;
  static program::Description describe() {
    program::Description description;
    description.name = "spinner";
    description.summary = "jobs that compute, for measurements";
    for (const auto& [name, value, help] :
         {std::tuple{"count", "200", "jobs"}, std::tuple{"steps", "1000000", "of each job"}}) {
      program::Parameter parameter;
      parameter.name = name;
      parameter.default_value = value;
      parameter.help = help;
      parameter.minimum = 1;
      parameter.maximum = 1e12;
      description.parameters.push_back(parameter);
    }
    return description;
  }
  explicit Spinner(const program::Settings& settings)
      : count_(static_cast<std::uint64_t>(settings.integer("count"))),
        steps_(static_cast<std::uint64_t>(settings.integer("steps"))) {}
  void source(const program::Emit<Input>& emit) const {
    for (std::uint64_t i = 0; i < count_; ++i) {
      if (!emit(i)) return;
    }
  }
  // Each step waits for the one before: a busy neighbour on the same core hardly changes its pace.
  Result work(const Input& input) const {
    std::uint64_t value = input;
    for (std::uint64_t i = 0; i < steps_; ++i) value = value * 6364136223846793005U + 1;
    volatile std::uint64_t kept = value;
    return kept == value ? input : 0;
  }
  struct Reducer {
    explicit Reducer(const Spinner&) {}
    void add(std::uint64_t, const Result* result) {
      if (result != nullptr) sum += *result + 1;
    }
    program::Answer finish() { return {std::to_string(sum), "sum " + std::to_string(sum)}; }
    std::uint64_t sum = 0;
  };

 private:
  std::uint64_t count_;
  std::uint64_t steps_;
};

BULKHEAD_JOBS_PROGRAM(Spinner);

}  // namespace
