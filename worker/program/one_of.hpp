// A setting that is one of a few words.
#pragma once

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <bulkhead/program/settings.hpp>
#include <initializer_list>
#include <stdexcept>
#include <string>
#include <string_view>

namespace bulkhead::program {

// Throws std::invalid_argument for any other word.
inline const std::string& one_of(const Settings& settings, std::string_view name,
                                 std::initializer_list<std::string_view> words) {
  const std::string& text = settings.text(name);
  if (std::find(words.begin(), words.end(), text) == words.end())
    throw std::invalid_argument(fmt::format("setting '{}' is '{}': it must be {}", name, text,
                                            fmt::join(words.begin(), words.end(), " or ")));
  return text;
}

}  // namespace bulkhead::program
