#include "cli/values.hpp"

#include <algorithm>
#include <array>
#include <bulkhead/wire/text.hpp>
#include <charconv>
#include <cmath>
#include <limits>
#include <numeric>
#include <optional>

namespace bulkhead::coordinator {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array kDurationUnits{Unit{"h", 3600e9}, Unit{"m", 60e9}, Unit{"s", 1e9},
                                    Unit{"ms", 1e6},   Unit{"us", 1e3}, Unit{"ns", 1}};
constexpr std::array kSizeUnits{
    Unit{"GiB", 1073741824.0}, Unit{"MiB", 1048576.0}, Unit{"KiB", 1024.0}, Unit{"GB", 1e9},
    Unit{"MB", 1e6},           Unit{"kB", 1e3},        Unit{"B", 1}};
constexpr std::array kRateUnits{Unit{"/s", 1}, Unit{"/min", 1.0 / 60}};
constexpr double kRateMinimum = 1.0 / 60;
constexpr double kRateMaximum = 1e6;
constexpr double kDurationMaximum = 365.0 * 86400e9;
constexpr std::uint64_t kRestartsMaximum = 100'000;  // each of the last period is remembered
constexpr double kSizeMaximum = 9007199254740992.0;  // 2^53: exact as a double, in JSON too

bool is_digit(char c) { return c >= '0' && c <= '9'; }

struct Amount {
  double number = 0;
  std::string_view digits;
  std::string_view unit;
};

// "1.5s" is 1.5 and "s". Locale-free; no sign, no exponent, no leading or trailing point.
std::optional<Amount> parse_amount(std::string_view text) {
  std::size_t end = 0;
  while (end < text.size() && is_digit(text[end])) ++end;
  if (end == 0) return std::nullopt;
  if (end + 1 < text.size() && text[end] == '.' && is_digit(text[end + 1])) {
    ++end;
    while (end < text.size() && is_digit(text[end])) ++end;
  }
  Amount amount{0, text.substr(0, end), text.substr(end)};
  const auto parsed = std::from_chars(text.data(), text.data() + end, amount.number);
  if (parsed.ec == std::errc::result_out_of_range) {
    amount.number = std::numeric_limits<double>::max();
  }
  return amount;
}

template <std::size_t N>
const Unit* find_unit(const std::array<Unit, N>& units, std::string_view name) {
  const auto found =
      std::find_if(units.begin(), units.end(), [&](const Unit& unit) { return unit.name == name; });
  return found == units.end() ? nullptr : &*found;
}

}  // namespace

std::string in_quotes(std::string_view text) { return "'" + wire::printable(text, 200) + "'"; }

Result<std::uint64_t> parse_whole(std::string_view text) {
  std::uint64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (text.empty() || parsed.ptr != end || parsed.ec == std::errc::invalid_argument) {
    return fail(Code::kInvalidArgument, "{} is not a whole number", in_quotes(text));
  }
  if (parsed.ec == std::errc::result_out_of_range) return std::numeric_limits<std::uint64_t>::max();
  return value;
}

Result<std::uint64_t> parse_count(std::string_view text, std::uint64_t minimum,
                                  std::uint64_t maximum) {
  const auto value = parse_whole(text);
  if (!value) {
    return fail(Code::kInvalidArgument, "{}; write {} to {}", value.error().text, minimum, maximum);
  }
  if (*value < minimum || *value > maximum) {
    return fail(Code::kInvalidArgument, "{} is out of range; write {} to {}", in_quotes(text),
                minimum, maximum);
  }
  return *value;
}

Result<std::int64_t> parse_integer(std::string_view text) {
  std::int64_t value = 0;
  const char* const end = text.data() + text.size();
  const auto parsed = std::from_chars(text.data(), end, value);
  if (text.empty() || parsed.ptr != end || parsed.ec == std::errc::invalid_argument) {
    return fail(Code::kInvalidArgument, "{} is not a whole number", in_quotes(text));
  }
  if (parsed.ec == std::errc::result_out_of_range) {
    return fail(Code::kInvalidArgument, "{} does not fit 64 bits", in_quotes(text));
  }
  return value;
}

Result<base::Duration> parse_duration(std::string_view text) {
  const auto amount = parse_amount(text);
  if (!amount) {
    return fail(Code::kInvalidArgument, "{} is not a duration; write one as 500ms, 2s or 1m",
                in_quotes(text));
  }
  if (amount->unit.empty()) {
    return fail(Code::kInvalidArgument, "{}: a duration needs a unit: write {}ms or {}s",
                wire::printable(text, 200), amount->digits, amount->digits);
  }
  const Unit* const unit = find_unit(kDurationUnits, amount->unit);
  if (unit == nullptr) {
    return fail(Code::kInvalidArgument, "{}: unknown unit {}; units: ns, us, ms, s, m, h",
                in_quotes(text), in_quotes(amount->unit));
  }
  const double nanoseconds = amount->number * unit->factor;
  if (nanoseconds > kDurationMaximum) {
    return fail(Code::kInvalidArgument, "{} is too long; write at most 8760h", in_quotes(text));
  }
  return base::Duration(static_cast<std::int64_t>(std::llround(nanoseconds)));
}

Result<double> parse_rate(std::string_view text) {
  const auto amount = parse_amount(text);
  const Unit* const unit = amount ? find_unit(kRateUnits, amount->unit) : nullptr;
  if (unit == nullptr) {
    return fail(Code::kInvalidArgument, "{} is not a rate; write one as 200/s or 30/min",
                in_quotes(text));
  }
  const double per_second = amount->number * unit->factor;
  // A little slack: a sixtieth is no binary fraction.
  if (per_second < kRateMinimum * (1 - 1e-9) || per_second > kRateMaximum) {
    return fail(Code::kInvalidArgument, "{} is out of range; write 1/min to 1000000/s",
                in_quotes(text));
  }
  return per_second;
}

Result<RestartLimit> parse_restarts(std::string_view text) {
  const std::size_t slash = text.find('/');
  if (slash == std::string_view::npos) {
    return fail(Code::kInvalidArgument, "{} is not N/PERIOD; write such as 10/1s, or 0/1s for none",
                in_quotes(text));
  }
  const auto most = parse_count(text.substr(0, slash), 0, kRestartsMaximum);
  if (!most) return fail(most.error());
  const auto period = parse_duration(text.substr(slash + 1));
  if (!period) return fail(period.error());
  if (*period < std::chrono::milliseconds(1)) {
    return fail(Code::kInvalidArgument, "{}: the period is too short; write 1ms or more",
                in_quotes(text));
  }
  return RestartLimit{static_cast<std::uint32_t>(*most), *period};
}

Result<std::uint64_t> parse_size(std::string_view text) {
  const auto amount = parse_amount(text);
  if (!amount) {
    return fail(Code::kInvalidArgument, "{} is not a size; write one as 64KiB, 1MiB or 1000B",
                in_quotes(text));
  }
  const Unit* const unit = find_unit(kSizeUnits, amount->unit.empty() ? "B" : amount->unit);
  if (unit == nullptr) {
    return fail(Code::kInvalidArgument, "{}: unknown unit {}; units: B, kB, KiB, MB, MiB, GB, GiB",
                in_quotes(text), in_quotes(amount->unit));
  }
  const double bytes = amount->number * unit->factor;
  if (bytes > kSizeMaximum) {
    return fail(Code::kInvalidArgument, "{} is too big; write at most 8388608GiB", in_quotes(text));
  }
  return static_cast<std::uint64_t>(std::llround(bytes));
}

std::string format_duration(base::Duration duration) {
  for (const Unit& unit : kDurationUnits) {
    const auto factor = static_cast<std::int64_t>(unit.factor);
    if (duration.count() != 0 && duration.count() % factor == 0) {
      return fmt::format("{}{}", duration.count() / factor, unit.name);
    }
  }
  return "0s";
}

std::string format_size(std::uint64_t bytes) {
  for (const Unit& unit : {kSizeUnits[0], kSizeUnits[1], kSizeUnits[2]}) {
    const auto factor = static_cast<std::uint64_t>(unit.factor);
    if (bytes != 0 && bytes % factor == 0) return fmt::format("{}{}", bytes / factor, unit.name);
  }
  return fmt::format("{}B", bytes);
}

std::string format_restarts(const RestartLimit& limit) {
  return fmt::format("{}/{}", limit.most, format_duration(limit.period));
}

std::string join(const std::vector<std::string>& words, std::string_view separator) {
  std::string all;
  for (const std::string& word : words) {
    if (!all.empty()) all += separator;
    all += word;
  }
  return all;
}

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  for (std::size_t begin = 0; begin <= text.size();) {
    const std::size_t end = std::min(text.find(separator, begin), text.size());
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::string nearest(std::string_view word, const std::vector<std::string>& candidates) {
  constexpr std::size_t kLongest = 64;  // the table is quadratic, and nothing of ours is longer
  if (word.empty() || word.size() > kLongest) return {};
  std::string best;
  std::size_t best_edits = 0;
  for (const std::string& candidate : candidates) {
    // Optimal string alignment: insert, delete, replace, swap of neighbours. Three rows suffice.
    std::vector<std::size_t> before(candidate.size() + 1);
    std::vector<std::size_t> previous(candidate.size() + 1);
    std::vector<std::size_t> current(candidate.size() + 1);
    std::iota(previous.begin(), previous.end(), std::size_t{0});
    for (std::size_t i = 1; i <= word.size(); ++i) {
      current[0] = i;
      for (std::size_t j = 1; j <= candidate.size(); ++j) {
        const std::size_t replaced = previous[j - 1] + (word[i - 1] == candidate[j - 1] ? 0 : 1);
        current[j] = std::min({previous[j] + 1, current[j - 1] + 1, replaced});
        if (i > 1 && j > 1 && word[i - 1] == candidate[j - 2] && word[i - 2] == candidate[j - 1]) {
          current[j] = std::min(current[j], before[j - 2] + 1);
        }
      }
      before.swap(previous);
      previous.swap(current);
    }
    const std::size_t edits = previous[candidate.size()];
    const std::size_t allowed =
        std::max<std::size_t>(1, std::min(word.size(), candidate.size()) / 3);
    if (edits <= allowed && (best.empty() || edits < best_edits)) {
      best = candidate;
      best_edits = edits;
    }
  }
  return best;
}

std::string suggestion(std::string_view word, std::string_view label,
                       const std::vector<std::string>& candidates) {
  // A worker may be where the candidates come from.
  const std::string known = wire::printable(join(candidates));
  const std::string near = nearest(word, candidates);
  if (near.empty()) return fmt::format("; {}: {}", label, known);
  return fmt::format("; did you mean {}? {}: {}", in_quotes(near), label, known);
}

}  // namespace bulkhead::coordinator
