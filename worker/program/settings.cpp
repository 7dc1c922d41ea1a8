// Settings arrive as canonical text: the coordinator has parsed units and expressions. They are
// checked once more here, because a worker trusts no message.
#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/codec.hpp>
#include <bulkhead/program/settings.hpp>
#include <charconv>
#include <optional>
#include <stdexcept>

#include "program/hash.hpp"

namespace bulkhead::program {
namespace {

const char* words_for(ParameterType type) {
  switch (type) {
    case ParameterType::kInteger:
      return "an integer in decimal digits";
    case ParameterType::kSize:
      return "a size in bytes, in decimal digits";
    case ParameterType::kDuration:
      return "a duration in nanoseconds, in decimal digits";
    case ParameterType::kText:
      return "a text";
    case ParameterType::kOutput:
      return "a file to write";
  }
  return "of an unknown type";
}

// All of `text` in the one form that printing gives: no sign on a zero, no leading zeros or plus.
template <class Number>
std::optional<Number> canonical(const std::string& text) {
  Number number{};
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, number);
  if (error != std::errc{} || stop != end || fmt::to_string(number) != text) return std::nullopt;
  return number;
}

constexpr double kMostIterationsPerSecond = 1e11;

std::optional<double> number_of(ParameterType type, const std::string& text) {
  if (type == ParameterType::kSize) {
    const auto number = canonical<std::uint64_t>(text);
    return number ? std::optional<double>(static_cast<double>(*number)) : std::nullopt;
  }
  const auto number = canonical<std::int64_t>(text);
  if (!number || (type == ParameterType::kDuration && *number < 0)) return std::nullopt;
  return static_cast<double>(*number);
}

void check_value(const Description& description, const Parameter& parameter,
                 const std::string& text) {
  if (parameter.type == ParameterType::kText || parameter.type == ParameterType::kOutput) return;
  const std::optional<double> number = number_of(parameter.type, text);
  if (!number)
    throw std::invalid_argument(fmt::format("setting '{}' of program '{}' is '{}': it must be {}",
                                            parameter.name, description.name, text,
                                            words_for(parameter.type)));
  const bool bounded = parameter.minimum != 0 || parameter.maximum != 0;
  if (bounded && (*number < parameter.minimum || *number > parameter.maximum))
    throw std::invalid_argument(
        fmt::format("setting '{}' of program '{}' is {}: it must be between {:.0f} and {:.0f}",
                    parameter.name, description.name, text, parameter.minimum, parameter.maximum));
}

std::string names_of(const Description& description) {
  std::string names;
  for (const Parameter& parameter : description.parameters)
    names += (names.empty() ? "" : ", ") + parameter.name;
  return names.empty() ? "it has none" : "it has " + names;
}

template <class Number>
Number parsed(const std::string& text) {
  Number number{};
  std::from_chars(text.data(), text.data() + text.size(), number);  // checked by the constructor
  return number;
}

}  // namespace

Settings::Settings(const Description& description, const std::map<std::string, std::string>& values,
                   std::vector<std::string> inputs, double iterations_per_second)
    : inputs_(std::move(inputs)), iterations_per_second_(iterations_per_second) {
  for (const Parameter& parameter : description.parameters) {
    const auto given = values.find(parameter.name);
    const std::string& text = given == values.end() ? parameter.default_value : given->second;
    check_value(description, parameter, text);
    values_.emplace(parameter.name, std::pair(parameter.type, text));
  }
  for (const auto& [name, text] : values)
    if (!values_.contains(name))
      throw std::invalid_argument(fmt::format("program '{}' has no setting '{}': {}",
                                              description.name, name, names_of(description)));
  if (description.takes_input && inputs_.empty())
    throw std::invalid_argument(
        fmt::format("program '{}' needs at least one --input PATH", description.name));
  if (!description.takes_input && !inputs_.empty())
    throw std::invalid_argument(fmt::format("program '{}' takes no --input, but '{}' was given",
                                            description.name, inputs_.front()));
  if (description.wants_calibration &&
      !(iterations_per_second >= 1 && iterations_per_second <= kMostIterationsPerSecond))
    throw std::invalid_argument(
        fmt::format("program '{}' needs a calibration, and {} iterations "
                    "per second is none",
                    description.name, iterations_per_second));
}

const std::string& Settings::value(std::string_view name, ParameterType type) const {
  const auto found = values_.find(name);
  BULKHEAD_CHECK(found != values_.end(), "no setting '{}' is described", name);
  BULKHEAD_CHECK(found->second.first == type, "setting '{}' is not {}", name, words_for(type));
  return found->second.second;
}

std::int64_t Settings::integer(std::string_view name) const {
  return parsed<std::int64_t>(value(name, ParameterType::kInteger));
}

std::uint64_t Settings::size(std::string_view name) const {
  return parsed<std::uint64_t>(value(name, ParameterType::kSize));
}

std::chrono::nanoseconds Settings::duration(std::string_view name) const {
  return std::chrono::nanoseconds(parsed<std::int64_t>(value(name, ParameterType::kDuration)));
}

const std::string& Settings::text(std::string_view name) const {
  return value(name, ParameterType::kText);
}

const std::string& Settings::output(std::string_view name) const {
  return value(name, ParameterType::kOutput);
}

std::uint64_t Settings::iterations(std::string_view name) const {
  BULKHEAD_CHECK(iterations_per_second_ > 0, "the program of setting '{}' wants no calibration",
                 name);
  const std::chrono::duration<double> seconds = duration(name);
  // What would not fit takes longer than anybody waits.
  return static_cast<std::uint64_t>(std::min(seconds.count() * iterations_per_second_ + 0.5, 1e19));
}

std::string digest(const Description& description, std::string_view build_id) {
  Writer writer;  // lengths keep neighbouring texts apart
  writer.string(build_id);
  writer.string(description.name);
  writer.string(description.summary);
  write(writer, description.takes_input);
  write(writer, description.wants_calibration);
  writer.varint(description.parameters.size());
  for (const Parameter& parameter : description.parameters) {
    writer.string(parameter.name);
    write(writer, parameter.type);
    writer.string(parameter.default_value);
    writer.string(parameter.help);
    writer.real(parameter.minimum);
    writer.real(parameter.maximum);
  }
  return hex16(digest_of(writer.take()));
}

}  // namespace bulkhead::program
