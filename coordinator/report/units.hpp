// Numbers as people read them: three significant digits and a scaled unit; whole numbers grouped
// by commas.
#pragma once

#include <string>
#include <string_view>

namespace bulkhead::coordinator {

std::string digits(double value);      // 0.123, 1.23, 12.3, 123, 1,234
std::string whole(double value);       // 12,345
std::string duration(double seconds);  // 12.3 ms
std::string size(double bytes);        // 12.3 MiB
std::string multiple(double ratio);    // 1.234; more digits where it would read as 1 and is not
std::string counted(double count, std::string_view noun);  // 1 job, 12,345 jobs, 2 crashes
// low–high in the unit that duration(median) has.
std::string duration_interval(double low, double high, double median);

// Columns that UTF-8 `text` takes on a terminal.
std::size_t display_width(std::string_view text);

// Words of `text` in lines of at most `width` columns, the ones after the first behind `indent`
// spaces. A word longer than a line stays whole.
std::string wrap(std::string_view text, std::size_t width, std::size_t indent);

}  // namespace bulkhead::coordinator
