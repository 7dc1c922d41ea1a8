// Finds regular files below the inputs of a program, in an order that only depends on the names.
#pragma once

#include <bulkhead/program/codec.hpp>
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

struct stat;

namespace bulkhead::program {

// A file as it was when it was found. Paths are absolute and bytes, not text.
struct FoundFile {
  std::string path;
  std::uint64_t size = 0;
  std::int64_t modified_ns = 0;
};

// What was met and is not a file to read.
struct SkippedPath {
  std::string path;
  std::string reason;
  BULKHEAD_FIELDS(path, reason)
};

// Both are told in walking order and say false to stop.
struct FileVisitor {
  std::function<bool(FoundFile)> file;
  std::function<bool(SkippedPath)> skipped;
};

// Symbolic links are followed. A path is told once, even when inputs overlap; two paths to one file
// are two files. A directory that is its own ancestor is cut there and told as skipped. Only
// regular files are opened: a FIFO could block for ever, a device could do anything. An input that
// does not exist is told as skipped.
void walk_files(const std::vector<std::string>& inputs, const FileVisitor& visitor);

// The modification time in nanoseconds since 1970.
std::int64_t modified_ns(const struct stat& status);
// "FIFO", "socket", …
const char* kind_of_file(const struct stat& status);
// Opens what is thought to be a regular file, never waiting for a FIFO's other end and never taking
// a terminal. The caller must look at its kind by fstat(). -1 and errno.
int open_file(const std::string& path);
std::string error_text(int error);

}  // namespace bulkhead::program
