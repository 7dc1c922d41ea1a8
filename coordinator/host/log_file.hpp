// What one incarnation of a worker prints, in a file of its own (--logs).
#pragma once

#include <bulkhead/base/error.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <optional>
#include <string>
#include <string_view>

namespace bulkhead::coordinator {

// Raw bytes, written as they come, so that little is lost whoever dies. The file is made when the
// first of them come: who prints nothing has none. Not thread-safe; a write to a regular file does
// not wait for a reader.
class LogFile {
 public:
  LogFile() = default;  // keeps nothing
  // Takes away what an earlier run has left under that name.
  explicit LogFile(std::string path);

  // After an error, which is told once, what follows is dropped: a log with a hole in its middle
  // would mislead more than one that ends early.
  Result<void> append(std::string_view bytes);
  // Nothing until there is a file.
  std::optional<std::string> path() const;

 private:
  Result<void> give_up(const char* what, int error_number);

  std::string path_;
  base::UniqueFd fd_;
  bool made_ = false;
  bool failed_ = false;
};

}  // namespace bulkhead::coordinator
