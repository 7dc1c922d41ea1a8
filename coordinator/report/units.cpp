#include "report/units.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <span>

namespace bulkhead::coordinator {
namespace {

struct Unit {
  double factor;
  std::string_view name;
};
constexpr std::array<Unit, 4> kTime{{{1, "s"}, {1e-3, "ms"}, {1e-6, "µs"}, {1e-9, "ns"}}};
constexpr double kKibi = 1024;
constexpr std::array<Unit, 4> kSize{
    {{kKibi * kKibi * kKibi, "GiB"}, {kKibi * kKibi, "MiB"}, {kKibi, "KiB"}, {1, "B"}}};

// The largest unit in which the rounded value is at least 1: 999.6 ms is 1.00 s.
const Unit& unit_for(double value, std::span<const Unit> units) {
  for (const Unit& unit : units) {
    if (value >= unit.factor * 0.9995) return unit;
  }
  return units.back();
}

std::string scaled(double value, std::span<const Unit> units) {
  const Unit& unit = unit_for(value, units);
  return fmt::format("{} {}", digits(value / unit.factor), unit.name);
}

bool in(char32_t point, char32_t first, char32_t last) { return point >= first && point <= last; }

std::size_t width_of(char32_t point) {
  if (in(point, 0x300, 0x36f) || in(point, 0x200b, 0x200f) || in(point, 0x20d0, 0x20ff) ||
      in(point, 0xfe00, 0xfe0f)) {
    return 0;
  }
  const bool wide = in(point, 0x1100, 0x115f) || in(point, 0x2e80, 0xa4cf) ||
                    in(point, 0xac00, 0xd7a3) || in(point, 0xf900, 0xfaff) ||
                    in(point, 0xfe30, 0xfe6f) || in(point, 0xff00, 0xff60) ||
                    in(point, 0xffe0, 0xffe6) || in(point, 0x1f300, 0x1f64f) ||
                    in(point, 0x1f900, 0x1f9ff) || in(point, 0x20000, 0x3fffd);
  return wide ? 2 : 1;
}

}  // namespace

std::string digits(double value) {
  if (!(value > 0)) return "0";
  if (value < 0.9995) return fmt::format("{:.3g}", value);
  if (value < 9.995) return fmt::format("{:.2f}", value);
  if (value < 99.95) return fmt::format("{:.1f}", value);
  return whole(value);
}

std::string whole(double value) {
  const std::string text = fmt::format("{:.0f}", value);
  std::string grouped;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const bool after_digit = i > 0 && text[i - 1] != '-';
    if (after_digit && (text.size() - i) % 3 == 0) grouped += ',';
    grouped += text[i];
  }
  return grouped;
}

std::string duration(double seconds) { return seconds > 0 ? scaled(seconds, kTime) : "0 s"; }
std::string size(double bytes) { return bytes > 0 ? scaled(bytes, kSize) : "0 B"; }

std::string multiple(double ratio) {
  for (int precision = 3; precision < 9; ++precision) {
    std::string text = fmt::format("{:.{}f}", ratio, precision);
    if (ratio == 1 || text != fmt::format("{:.{}f}", 1.0, precision)) return text;
  }
  return fmt::format("{:.9f}", ratio);
}

std::string counted(double count, std::string_view noun) {
  const bool sibilant = noun.ends_with("s") || noun.ends_with("sh");
  return fmt::format("{} {}{}", whole(count), noun, count == 1 ? "" : sibilant ? "es" : "s");
}

std::string duration_interval(double low, double high, double median) {
  const Unit& unit = unit_for(median, kTime);
  return fmt::format("{}–{}", digits(low / unit.factor), digits(high / unit.factor));
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size();) {
    const auto lead = static_cast<unsigned char>(text[i]);
    const std::size_t length = lead < 0x80 ? 1 : lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    char32_t point = length == 1 ? lead : lead & (0xffu >> (length + 1));
    for (std::size_t j = 1; j < length && i + j < text.size(); ++j) {
      point = (point << 6) | (static_cast<unsigned char>(text[i + j]) & 0x3fu);
    }
    width += width_of(point);
    i += length;
  }
  return width;
}

std::string wrap(std::string_view text, std::size_t width, std::size_t indent) {
  std::string lines;
  std::size_t column = 0;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    const std::string_view word = text.substr(at, end - at);
    at = end + 1;
    if (word.empty()) continue;
    const std::size_t columns = display_width(word);
    if (column > indent && column + 1 + columns > width) {
      lines += '\n';
      lines.append(indent, ' ');
      column = indent;
    } else if (!lines.empty()) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += columns;
  }
  return lines;
}

}  // namespace bulkhead::coordinator
