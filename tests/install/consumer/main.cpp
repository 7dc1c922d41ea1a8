// The whole of a user's own worker: a jobs program, a network and a main().
#include <bulkhead/program.hpp>
#include <bulkhead/worker/worker.hpp>
#include <cstdint>
#include <string>

namespace {

namespace program = bulkhead::program;
namespace sched = bulkhead::sched;

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

// Hands a number from goroutine to goroutine.
struct Relay {
  static program::Description describe() {
    program::Description description;
    description.name = "relay";
    description.summary = "hands a number on";
    return description;
  }
  explicit Relay(const program::Settings&) {}

  program::Answer run() {
    sched::Channel<int> first, second;
    sched::go([&] { first.send(1); });
    sched::Join<void> middle = sched::spawn([&] { second.send(*first.receive() + 1); });
    const std::string text = std::to_string(*second.receive());
    middle.join();
    return {.checksum = text, .text = "handed on: " + text};
  }
  program::Answer expected() const { return {.checksum = "2", .text = "handed on: 2"}; }
};

BULKHEAD_NETWORK(Relay);

}  // namespace

int main(int argc, char** argv) { return bulkhead::worker::worker_main(argc, argv); }
