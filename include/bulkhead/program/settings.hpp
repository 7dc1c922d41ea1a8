// What a program tells about itself, and what it is given.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

namespace bulkhead::program {

enum class ParameterType { kInteger, kSize, kDuration, kText };

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
};

// Values of all parameters: defaults, and what the coordinator has checked and sent. Asking for a
// name or type that the description lacks is a programmer's error.
class Settings {
 public:
  // Throws std::invalid_argument for an unknown name or a text that is not canonical.
  Settings(const Description& description, const std::map<std::string, std::string>& values,
           std::vector<std::string> inputs);

  std::int64_t integer(std::string_view name) const;
  std::uint64_t size(std::string_view name) const;  // bytes
  std::chrono::nanoseconds duration(std::string_view name) const;
  const std::string& text(std::string_view name) const;
  const std::vector<std::string>& inputs() const { return inputs_; }

 private:
  const std::string& value(std::string_view name, ParameterType type) const;

  std::map<std::string, std::pair<ParameterType, std::string>, std::less<>> values_;
  std::vector<std::string> inputs_;
};

// 16 hexadecimal digits over the description and the library's build id.
std::string digest(const Description& description, std::string_view build_id);

}  // namespace bulkhead::program
