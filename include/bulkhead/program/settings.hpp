// What a program tells about itself, and what it is given.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::program {

enum class ParameterType {
  kInteger,
  kSize,
  kDuration,
  kText,
  // A file that the program writes before its answer is finished. The user names where it goes; the
  // program is told a place in the run directory, and the coordinator puts the file into the user's
  // place when the whole command has come to one answer. The empty default: no file.
  kOutput,
};

struct Parameter {
  std::string name;
  ParameterType type = ParameterType::kInteger;
  std::string
      default_value;  // canonical: decimal digits (integer, size in bytes, duration in ns) or text
  std::string help;
  double minimum = 0;  // numbers only
  double maximum = 0;
};

struct Description {
  std::string name;
  std::string summary;       // one line
  bool takes_input = false;  // needs at least one --input PATH
  std::vector<Parameter> parameters;
  // Computes for stated times (Settings::iterations): the speed of this machine is measured once
  // before all runs, and every worker is told the same figure.
  bool wants_calibration = false;
  // Of a network with tasks: what its throughput counts, Net::did(); plural.
  std::string unit = "values";
};

// Values of all parameters: defaults, and what the coordinator has checked and sent. Asking for a
// name or type that the description lacks is a programmer's error.
class Settings {
 public:
  // Throws std::invalid_argument for an unknown name or a text that is not canonical.
  Settings(const Description& description, const std::map<std::string, std::string>& values,
           std::vector<std::string> inputs, double iterations_per_second = 0);

  std::int64_t integer(std::string_view name) const;
  std::uint64_t size(std::string_view name) const;  // bytes
  std::chrono::nanoseconds duration(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  // Where to write the file; empty: the user wants none. A crash may have left half a file there.
  const std::string& output(std::string_view name) const;
  // As many iterations of compute() (synthetic_work.hpp) as take that duration here. Only for a
  // program that wants a calibration.
  std::uint64_t iterations(std::string_view name) const;
  const std::vector<std::string>& inputs() const { return inputs_; }

 private:
  const std::string& value(std::string_view name, ParameterType type) const;

  std::map<std::string, std::pair<ParameterType, std::string>, std::less<>> values_;
  std::vector<std::string> inputs_;
  double iterations_per_second_;
};

// 16 hexadecimal digits over the description and the library's build id.
std::string digest(const Description& description, std::string_view build_id);

}  // namespace bulkhead::program
