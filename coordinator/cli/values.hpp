// Words of the command line to values, and the suggestions in its messages. An error's text says
// what is wrong and what would be right, without naming the flag: the caller knows that.
#pragma once

#include <bulkhead/base/clock.hpp>
#include <bulkhead/base/error.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "supervise/restart_limit.hpp"

namespace bulkhead::coordinator {

// 'text' in quotes, fit for a terminal, cut when long.
std::string in_quotes(std::string_view text);

// Decimal digits only. A number too big for 64 bits becomes the biggest one.
Result<std::uint64_t> parse_whole(std::string_view text);
Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t minimum,
                                  std::uint64_t maximum);
Result<std::int64_t> parse_integer(std::string_view text);
// 500ms, 1.5s: a unit is needed (ns us ms s m h). At most 365 days.
Result<base::Duration> parse_duration(std::string_view text);
// 10/1s, 0/1m: a count of at most 100000, and a duration of at least 1ms.
Result<RestartLimit> parse_restarts(std::string_view text);
// 200/s, 0.5/s, 30/min: per second. From 1/min to 1000000/s.
Result<double> parse_rate(std::string_view text);
// 64KiB, 1MiB, 1.5GiB, 64kB, 1000B, 1000.
Result<std::uint64_t> parse_size(std::string_view text);

std::string format_duration(base::Duration duration);  // the biggest unit that needs no fraction
std::string format_size(std::uint64_t bytes);
std::string format_restarts(const RestartLimit& limit);

std::string join(const std::vector<std::string>& words, std::string_view separator = ", ");
std::vector<std::string> split(std::string_view text, char separator);

// The candidate nearest to `word` by edits, or "" when none is near enough to be meant.
std::string nearest(std::string_view word, const std::vector<std::string>& candidates);
// "; did you mean 'segv'? kinds: segv, kill", or "; kinds: segv, kill" without a near one.
std::string suggestion(std::string_view word, std::string_view label,
                       const std::vector<std::string>& candidates);

}  // namespace bulkhead::coordinator
