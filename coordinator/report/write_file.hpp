// Files as a user wants them: the old one or the whole new one, whatever happens meanwhile.
#pragma once

#include <bulkhead/base/error.hpp>
#include <string>
#include <string_view>

namespace bulkhead::coordinator {

// To a temporary file beside `path`, to the disk, then renamed: a full disk leaves the old file as
// it was. Mode and links of an old file are kept. What is not a regular file (a pipe, /dev/null) is
// written in place.
Result<void> write_file(const std::string& path, std::string_view text);
// The same with the content of the regular file `from`, which may be on another file system.
Result<void> copy_file(const std::string& from, const std::string& path);
// Whether write_file() could begin now; so that a long run does not end in a path that could never
// be written. Makes a temporary file beside it and removes it. The error says what is wrong, and
// what to do.
Result<void> check_can_write(const std::string& path);

// A reader that left is no error; the caller ignores SIGPIPE.
Result<void> write_standard_output(std::string_view text);

}  // namespace bulkhead::coordinator
