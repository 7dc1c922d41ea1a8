#include "report/table.hpp"

#include <algorithm>
#include <bulkhead/base/check.hpp>

#include "report/units.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kGap = 2;

std::pair<std::string, std::string> header_lines(const std::string& header) {
  const std::size_t cut = header.find('\n');
  if (cut == std::string::npos) return {"", header};
  return {header.substr(0, cut), header.substr(cut + 1)};
}

void append_cell(std::string& line, const Cell& cell, std::size_t width, bool left, bool color) {
  const std::size_t taken = display_width(cell.text);
  const std::size_t blanks = width > taken ? width - taken : 0;
  if (!left) line.append(blanks, ' ');
  line += styled(cell.text, cell.style, color);
  if (left) line.append(blanks, ' ');
}

void append_line(std::string& text, std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  text += line;
  text += '\n';
}

}  // namespace

std::string styled(std::string text, Style style, bool color) {
  if (!color || style == Style::kPlain || text.empty()) return text;
  const char* start = style == Style::kStrong  ? "\033[1m"
                      : style == Style::kAlarm ? "\033[1;31m"
                                               : "\033[2m";
  return start + std::move(text) + "\033[0m";
}

void Table::add_row(std::vector<Cell> cells) {
  BULKHEAD_CHECK(cells.size() == headers_.size(), "{} cells under {} headers", cells.size(),
                 headers_.size());
  rows_.push_back({std::move(cells), false});
}

void Table::add_note(std::string name, std::string words) {
  rows_.push_back({{{std::move(name), Style::kStrong}, {std::move(words), Style::kPlain}}, true});
}

std::string Table::render(bool color, std::size_t width) const {
  std::vector<std::size_t> widths;
  std::vector<Cell> upper;
  std::vector<Cell> lower;
  for (const std::string& header : headers_) {
    auto [first, second] = header_lines(header);
    widths.push_back(std::max(display_width(first), display_width(second)));
    upper.push_back({std::move(first), Style::kFaint});
    lower.push_back({std::move(second), Style::kFaint});
  }
  for (const Row& row : rows_) {
    for (std::size_t i = 0; i < (row.note ? 1 : row.cells.size()); ++i) {
      widths[i] = std::max(widths[i], display_width(row.cells[i].text));
    }
  }

  std::string text;
  const auto add = [&](const std::vector<Cell>& cells) {
    std::string line;
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line.append(kGap, ' ');
      append_cell(line, cells[i], widths[i], i == 0, color);
    }
    append_line(text, std::move(line));
  };
  if (std::any_of(upper.begin(), upper.end(), [](const Cell& cell) { return !cell.text.empty(); }))
    add(upper);
  add(lower);
  for (const Row& row : rows_) {
    if (!row.note) {
      add(row.cells);
      continue;
    }
    const std::size_t indent = widths[0] + kGap;
    std::string line;
    append_cell(line, row.cells[0], widths[0], true, color);
    line.append(kGap, ' ');
    line += wrap(row.cells[1].text, width > indent ? width - indent : 1, 0);
    for (std::size_t at = line.find('\n'); at != std::string::npos; at = line.find('\n', at + 1)) {
      line.insert(at + 1, indent, ' ');
    }
    append_line(text, std::move(line));
  }
  return text;
}

}  // namespace bulkhead::coordinator
