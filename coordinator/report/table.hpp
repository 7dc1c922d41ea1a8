// Text in aligned columns, by display width. A header may have two lines ("service\np50"). The
// first column is a name, on the left; the others are figures, on the right.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace bulkhead::coordinator {

// Columns of a report.
inline constexpr std::size_t kWidth = 110;

// ANSI styles, or nothing. They only repeat what the words say.
enum class Style { kPlain, kStrong, kAlarm, kFaint };
std::string styled(std::string text, Style style, bool color);

struct Cell {
  std::string text;
  Style style = Style::kPlain;
};

class Table {
 public:
  explicit Table(std::vector<std::string> headers) : headers_(std::move(headers)) {}

  // As many cells as headers.
  void add_row(std::vector<Cell> cells);
  // A name, and words that take the place of the figures.
  void add_note(std::string name, std::string words);
  // Lines without trailing blanks; words of a note are wrapped at `width`.
  std::string render(bool color, std::size_t width) const;

 private:
  struct Row {
    std::vector<Cell> cells;
    bool note = false;
  };
  std::vector<std::string> headers_;
  std::vector<Row> rows_;
};

}  // namespace bulkhead::coordinator
