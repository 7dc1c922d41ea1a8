// The whole of a user's own worker: one program and a main().
#include <bulkhead/program.hpp>
#include <bulkhead/worker/worker.hpp>
#include <cstdint>
#include <string>

namespace {

namespace program = bulkhead::program;

struct Squares {
  using Input = std::uint64_t;
  using Result = std::uint64_t;

  static program::Description describe() {
    program::Description description;
    description.name = "squares";
    description.summary = "adds up the squares of the numbers below count";
    description.parameters = {{.name = "count",
                               .type = program::ParameterType::kInteger,
                               .default_value = "1000",
                               .help = "how many numbers",
                               .minimum = 1,
                               .maximum = 1e6}};
    return description;
  }

  explicit Squares(const program::Settings& settings) : count_(settings.integer("count")) {}

  void source(const program::Emit<Input>& emit) const {
    for (std::int64_t i = 0; i < count_; ++i) {
      if (!emit(static_cast<Input>(i))) return;
    }
  }
  Result work(const Input& input) const { return input * input; }

  struct Reducer {
    explicit Reducer(const Squares&) {}
    void add(std::uint64_t, const Result* result) {
      if (result != nullptr) sum += *result;
    }
    program::Answer finish() const {
      return {.checksum = std::to_string(sum), .text = "sum of squares: " + std::to_string(sum)};
    }
    Result sum = 0;
  };

 private:
  std::int64_t count_;
};

BULKHEAD_JOBS_PROGRAM(Squares);

}  // namespace

int main(int argc, char** argv) { return bulkhead::worker::worker_main(argc, argv); }
