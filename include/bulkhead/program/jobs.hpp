// A jobs program: source (yields inputs) -> work (one input, one result) -> reduce (results ->
// answer). The same code runs under every execution model; only names and data cross processes.
//
//   struct Squares {
//     using Input = std::uint64_t;
//     using Result = std::uint64_t;
//     static program::Description describe();
//     explicit Squares(const program::Settings& settings);
//     void source(const program::Emit<Input>& emit) const;  // emit(input) in a fixed order; return
//                                                           // as soon as it says false
//     Result work(const Input& input) const;  // any thread, many at once; may throw; may go()
//     struct Reducer {                        // one goroutine, results in job order
//       explicit Reducer(const Squares& program);
//       void add(std::uint64_t job, const Result* result);  // nullptr: failed or quarantined
//       program::Answer finish();
//     };
//   };
//   BULKHEAD_JOBS_PROGRAM(Squares);
//
// The source must be deterministic: after a crash it is run again and what was already yielded is
// dropped. Input and Result need a Codec (codec.hpp).
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/program/codec.hpp>
#include <bulkhead/program/settings.hpp>
#include <concepts>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace bulkhead::program {

struct Answer {
  std::string checksum;  // equal answers have equal checksums; printable ASCII
  std::string text;      // for people; any bytes
};

template <class Input>
using Emit = std::function<bool(Input)>;

// Owns a value of a type that only the program knows.
class Value {
 public:
  Value() = default;
  template <class T>
  static Value of(T value) {
    Value result;
    result.owned_ = Pointer(new T(std::move(value)), [](void* p) { delete static_cast<T*>(p); });
    return result;
  }
  template <class T>
  const T& as() const {
    return *static_cast<const T*>(owned_.get());
  }
  explicit operator bool() const { return owned_ != nullptr; }

 private:
  using Pointer = std::unique_ptr<void, void (*)(void*)>;
  Pointer owned_{nullptr, [](void*) {}};
};

class ErasedReducer {
 public:
  virtual ~ErasedReducer() = default;
  virtual void add(std::uint64_t job, const Value* result) = 0;
  virtual Answer finish() = 0;
};

// What the worker runs. Members may throw what the user's code throws, except the decoders.
class ErasedJobs {
 public:
  virtual ~ErasedJobs() = default;
  // Emits inputs from job `from` on; stops when `emit` says false.
  virtual void source(std::uint64_t from, const std::function<bool(Value)>& emit) const = 0;
  // Calls `first`, if there is one, before the program's own work: what it does happens in a frame
  // that names the program.
  virtual Value work(const Value& input, const std::function<void()>& first) const = 0;
  virtual std::unique_ptr<ErasedReducer> reducer() const = 0;
  virtual std::string encode_input(const Value& input) const = 0;
  virtual std::string encode_result(const Value& result) const = 0;
  virtual Result<Value> decode_input(std::string_view bytes) const = 0;  // kProtocolError
  virtual Result<Value> decode_result(std::string_view bytes) const = 0;
  // By the copy constructor; of a type that has none by way of its bytes.
  virtual Value copy_input(const Value& input) const = 0;
  virtual Value copy_result(const Value& result) const = 0;
};

struct Registration {
  Description description;
  std::function<std::unique_ptr<ErasedJobs>(const Settings&)> make;  // may throw
};

// Every program linked into this worker, by name. Filled before main().
const std::vector<Registration>& registry();
const Registration* find_program(std::string_view name);
// Aborts when two programs share a name.
bool register_program(Registration registration);

template <class Program>
class JobsAdapter final : public ErasedJobs {
 public:
  using Input = typename Program::Input;
  using Output = typename Program::Result;

  explicit JobsAdapter(const Settings& settings) : program_(settings) {}

  void source(std::uint64_t from, const std::function<bool(Value)>& emit) const override {
    std::uint64_t next = 0;
    program_.source(
        [&](Input input) { return next++ < from || emit(Value::of<Input>(std::move(input))); });
  }
  Value work(const Value& input, const std::function<void()>& first) const override {
    if (first) first();
    return Value::of<Output>(program_.work(input.as<Input>()));
  }
  std::unique_ptr<ErasedReducer> reducer() const override {
    return std::make_unique<ReducerAdapter>(program_);
  }
  std::string encode_input(const Value& input) const override {
    return encode_value(input.as<Input>());
  }
  std::string encode_result(const Value& result) const override {
    return encode_value(result.as<Output>());
  }
  bulkhead::Result<Value> decode_input(std::string_view bytes) const override {
    return decode<Input>(bytes);
  }
  bulkhead::Result<Value> decode_result(std::string_view bytes) const override {
    return decode<Output>(bytes);
  }
  Value copy_input(const Value& input) const override { return copy(input.as<Input>()); }
  Value copy_result(const Value& result) const override { return copy(result.as<Output>()); }

 private:
  class ReducerAdapter final : public ErasedReducer {
   public:
    explicit ReducerAdapter(const Program& program) : reducer_(program) {}
    void add(std::uint64_t job, const Value* result) override {
      reducer_.add(job, result == nullptr ? nullptr : &result->as<Output>());
    }
    Answer finish() override { return reducer_.finish(); }

   private:
    typename Program::Reducer reducer_;
  };

  template <class T>
  static bulkhead::Result<Value> decode(std::string_view bytes) {
    bulkhead::Result<T> value = decode_value<T>(bytes);
    if (!value) return fail(std::move(value.error()));
    return Value::of<T>(std::move(*value));
  }

  template <class T>
  static Value copy(const T& value) {
    if constexpr (std::copy_constructible<T>) {
      return Value::of<T>(value);
    } else {
      return std::move(*decode<T>(encode_value(value)));
    }
  }

  Program program_;
};

template <class Program>
bool register_jobs() {
  return register_program({Program::describe(), [](const Settings& settings) {
                             return std::unique_ptr<ErasedJobs>(
                                 std::make_unique<JobsAdapter<Program>>(settings));
                           }});
}

}  // namespace bulkhead::program

// A name that no other registration in the same translation unit has.
#define BULKHEAD_JOIN_EXPANDED(a, b) a##b
#define BULKHEAD_JOIN(a, b) BULKHEAD_JOIN_EXPANDED(a, b)

// At namespace scope of one .cpp file that is linked into the worker.
#define BULKHEAD_JOBS_PROGRAM(Program)                                                  \
  [[maybe_unused]] static const bool BULKHEAD_JOIN(bulkhead_registered_, __COUNTER__) = \
      ::bulkhead::program::register_jobs<Program>()
