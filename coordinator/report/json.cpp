// The report as a JSON file. A reader of the path sees the old file or the whole new one: the text
// goes to a temporary file beside it, to the disk, and then takes its name.
#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <optional>
#include <string_view>

#include "report/report.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr std::size_t kTextMax = std::size_t{64} << 20;

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// JSON has no word for what is not a number, and protobuf would print a string: a script that adds
// up would break. Texts lose bytes that are not UTF-8. Returns how many numbers had to go.
int scrub(Message& message);

int scrub_field(Message& message, const Reflection& access, const FieldDescriptor& field) {
  int replaced = 0;
  const int count = field.is_repeated() ? access.FieldSize(message, &field) : 1;
  for (int i = 0; i < count; ++i) {
    if (field.cpp_type() == FieldDescriptor::CPPTYPE_MESSAGE) {
      replaced += scrub(field.is_repeated() ? *access.MutableRepeatedMessage(&message, &field, i)
                                            : *access.MutableMessage(&message, &field));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING && field.is_repeated()) {
      access.SetRepeatedString(
          &message, &field, i,
          wire::printable(access.GetRepeatedString(message, &field, i), kTextMax, true));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_STRING) {
      access.SetString(&message, &field,
                       wire::printable(access.GetString(message, &field), kTextMax, true));
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE && field.is_repeated()) {
      if (std::isfinite(access.GetRepeatedDouble(message, &field, i))) continue;
      access.SetRepeatedDouble(&message, &field, i, 0);
      ++replaced;
    } else if (field.cpp_type() == FieldDescriptor::CPPTYPE_DOUBLE) {
      if (std::isfinite(access.GetDouble(message, &field))) continue;
      access.ClearField(&message, &field);
      ++replaced;
    }
  }
  return replaced;
}

int scrub(Message& message) {
  const Reflection& access = *message.GetReflection();
  std::vector<const FieldDescriptor*> present;
  access.ListFields(message, &present);
  int replaced = 0;
  for (const FieldDescriptor* field : present) replaced += scrub_field(message, access, *field);
  return replaced;
}

tl::unexpected<Error> system_failure(std::string_view what, std::string_view path, int error) {
  const std::string shown = wire::printable(path);
  const char* text = strerrordesc_np(error);
  const auto failure = [&](Code code, std::string_view remedy) {
    return fail(code, "cannot {} '{}': {}: {}", what, shown,
                text != nullptr ? text : "unknown error", remedy);
  };
  switch (error) {
    case ENOSPC:
    case EDQUOT:
      return failure(Code::kResourceExhausted, "make room there, or write to another disk");
    case EFBIG:
      return failure(Code::kResourceExhausted, "raise the limit on file sizes (ulimit -f)");
    case EMFILE:
    case ENFILE:
      return failure(Code::kResourceExhausted, "raise the limit on descriptors (ulimit -n)");
    case EACCES:
    case EPERM:
    case EROFS:
      return failure(Code::kPermissionDenied, "name a file in a directory that you can write to");
    case ENOENT:
    case ENOTDIR:
      return failure(Code::kNotFound, "create its directory first, or name another");
    case EISDIR:
      return failure(Code::kInvalidArgument, "name a file in it");
    case ENAMETOOLONG:
    case ELOOP:
      return failure(Code::kInvalidArgument, "name another file");
    case EPIPE:
      return failure(Code::kUnavailable, "its reader went away");
    default:
      return failure(Code::kIoError, "check the disk, or write elsewhere");
  }
}

// 0 or errno. Whole, over short writes, signals and a descriptor that does not block.
int write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = ::write(fd, text.data(), text.size());
    if (written >= 0) {
      text.remove_prefix(static_cast<std::size_t>(written));
    } else if (errno == EAGAIN) {
      pollfd ready{fd, POLLOUT, 0};
      if (::poll(&ready, 1, -1) < 0 && errno != EINTR) return errno;
    } else if (errno != EINTR) {
      return errno;
    }
  }
  return 0;
}

// A full disk may show only here, on some network file systems.
int close_checked(base::UniqueFd fd) { return ::close(fd.release()) == 0 ? 0 : errno; }

Result<void> write_in_place(const std::string& path, std::string_view text) {
  base::UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOCTTY));
  if (!fd) return system_failure("open", path, errno);
  if (const int error = write_all(fd.get(), text)) return system_failure("write to", path, error);
  if (const int error = close_checked(std::move(fd)))
    return system_failure("write to", path, error);
  return {};
}

// A file of our own in `directory` that disappears unless it was renamed away.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& directory) {
    for (int attempt = 0; attempt < 1000 && !fd_; ++attempt) {
      path_ = fmt::format("{}/.bulkhead-{}-{}.tmp", directory, ::getpid(), attempt);
      // The user's umask decides on the mode, as for any file that a command writes.
      fd_ = base::UniqueFd(::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
      error_ = fd_ ? 0 : errno;
      if (!fd_ && error_ != EEXIST) break;
    }
    exists_ = static_cast<bool>(fd_);
  }
  ~TemporaryFile() {
    if (exists_) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int error() const { return error_; }  // why there is none
  int fd() const { return fd_.get(); }
  int close() { return close_checked(std::move(fd_)); }
  int rename_to(const std::string& path) {
    if (::rename(path_.c_str(), path.c_str()) != 0) return errno;
    exists_ = false;
    return 0;
  }

 private:
  base::UniqueFd fd_;
  std::string path_;
  int error_ = 0;
  bool exists_ = false;
};

// `old` describes the regular file that is there now, if any. `path` is what the user wrote.
Result<void> replace(const std::string& path, const std::string& target,
                     const std::optional<struct stat>& old, std::string_view text) {
  const std::size_t slash = target.rfind('/');
  const std::string directory = slash == std::string::npos ? "."
                                : slash == 0               ? "/"
                                                           : target.substr(0, slash);
  // rename() asks only the directory; a file that its owner made read-only stays.
  if (old && ::access(target.c_str(), W_OK) != 0) return system_failure("write to", path, errno);
  TemporaryFile file(directory);
  if (file.fd() < 0) return system_failure("create", path, file.error());
  if (old && ::fchmod(file.fd(), old->st_mode & 07777) != 0) {
    return system_failure("write to", path, errno);
  }
  if (const int error = write_all(file.fd(), text)) return system_failure("write to", path, error);
  if (::fsync(file.fd()) != 0) return system_failure("write to", path, errno);
  if (const int error = file.close()) return system_failure("write to", path, error);
  if (const int error = file.rename_to(target)) return system_failure("write to", path, error);
  // The content is safe; a directory that can't be synced only risks that the old file comes back
  // after a power cut.
  const base::UniqueFd parent(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (parent) ::fsync(parent.get());
  return {};
}

Result<void> write_file(const std::string& path, std::string_view text) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) {
    if (errno != ENOENT) return system_failure("write to", path, errno);
    if (path.empty() || path.back() == '/') return system_failure("write to", path, ENOENT);
    return replace(path, path, std::nullopt, text);
  }
  if (S_ISDIR(status.st_mode)) return system_failure("write to", path, EISDIR);
  if (!S_ISREG(status.st_mode)) return write_in_place(path, text);
  // Through links: the file they lead to is replaced, not the link.
  char* resolved = ::realpath(path.c_str(), nullptr);
  if (resolved == nullptr) return system_failure("write to", path, errno);
  const std::string target = resolved;
  std::free(resolved);
  return replace(path, target, status, text);
}

}  // namespace

Result<void> write_json(const v1::RunReport& report, const std::string& path) {
  v1::RunReport clean = report;
  [[maybe_unused]] const int replaced = scrub(clean);
  BULKHEAD_DCHECK(replaced == 0, "{} values in the report are not finite numbers", replaced);

  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.always_print_primitive_fields = true;
  options.preserve_proto_field_names = true;
  std::string text;
  const auto status = google::protobuf::util::MessageToJsonString(clean, &text, options);
  if (!status.ok())
    return fail(Code::kInternal, "the report has no JSON form: {}", status.ToString());
  if (!text.ends_with('\n')) text += '\n';

  if (path != "-") return write_file(path, text);
  const int error = write_all(STDOUT_FILENO, text);
  if (error == 0 || error == EPIPE) return {};
  return system_failure("write to", "standard output", error);
}

}  // namespace bulkhead::coordinator
