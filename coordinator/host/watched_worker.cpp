#include "host/watched_worker.hpp"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/wire/packets.hpp>
#include <cerrno>
#include <cstring>

namespace bulkhead::coordinator {

Result<base::UniqueFd> PipeReader::open() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0)
    return fail(Code::kResourceExhausted, "no pipe for a worker's output: {}",
                std::strerror(errno));
  fd_ = base::UniqueFd(ends[0]);
  ::fcntl(ends[0], F_SETFL, O_NONBLOCK);  // the worker's end stays an ordinary, blocking one
  return base::UniqueFd(ends[1]);
}

Result<void> PipeReader::read_some() {
  char buffer[16u << 10];
  Result<void> logged;
  for (int round = 0; round < 16 && fd_; ++round) {
    const ssize_t size = ::read(fd_.get(), buffer, sizeof buffer);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) break;
    if (size <= 0) {
      close();
      break;
    }
    const auto count = static_cast<std::size_t>(size);
    if (auto written = log_.append({buffer, count}); !written) logged = std::move(written);
    if (keep_ == Keep::kHead) {
      kept_.append(buffer, std::min(count, limit_ - kept_.size()));
    } else {
      kept_.append(buffer, count);
      // Cut seldom, so that a flood costs no quadratic copying.
      if (kept_.size() > 16 * limit_) kept_.erase(0, kept_.size() - limit_);
    }
  }
  return logged;
}

std::string PipeReader::take() {
  if (kept_.size() > limit_) kept_.erase(0, kept_.size() - limit_);
  return std::move(kept_);
}

Result<WatchedWorker> prepare(LaunchSpec spec) {
  std::size_t size = spec.executable.size();
  for (const std::string& argument : spec.arguments) size += argument.size() + 8;
  if (size > wire::kMaxPacketBytes - 256)
    return fail(Code::kTooLarge, "the command line of worker {} has {} bytes, at most {} fit",
                spec.key.worker, size, wire::kMaxPacketBytes - 256);

  WatchedWorker worker;
  worker.key = spec.key;
  if (spec.capture_stdout) {
    auto writer = worker.out.open();
    if (!writer) return fail(writer.error());
    worker.out_writer = std::move(*writer);
  }
  auto writer = worker.err.open();
  if (!writer) return fail(writer.error());
  worker.err_writer = std::move(*writer);
  if (!spec.log.empty()) worker.err.log_to(LogFile(spec.log));
  if (!spec.lifeline) spec.lifeline = base::UniqueFd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  if (spec.crash_page >= 0)
    worker.crash_page = base::UniqueFd(::fcntl(spec.crash_page, F_DUPFD_CLOEXEC, 0));
  if (!spec.lifeline || (spec.crash_page >= 0 && !worker.crash_page))
    return fail(Code::kResourceExhausted, "no descriptors to launch worker {}: {}", spec.key.worker,
                std::strerror(errno));
  worker.spec = std::move(spec);
  return worker;
}

v1::ToLauncher launch_request(const WatchedWorker& worker, std::vector<int>& fds) {
  v1::ToLauncher message;
  v1::Launch& launch = *message.mutable_launch();
  launch.set_worker(worker.key.worker);
  launch.set_incarnation(worker.key.incarnation);
  launch.set_executable(worker.spec->executable);
  for (const std::string& argument : worker.spec->arguments) launch.add_arguments(argument);
  launch.set_fork(worker.spec->fork);
  const int err = worker.err_writer.get();
  fds = {worker.spec->lifeline.get(), worker.out_writer ? worker.out_writer.get() : err, err};
  if (worker.crash_page) fds.push_back(worker.crash_page.get());
  return message;
}

Error launch_error(const WatchedWorker& worker, int error_number) {
  Code code = Code::kIoError;
  if (error_number == ENOENT || error_number == ENOTDIR) code = Code::kNotFound;
  if (error_number == EACCES || error_number == EPERM) code = Code::kPermissionDenied;
  if (error_number == ENOEXEC) code = Code::kInvalidArgument;
  if (error_number == EOWNERDEAD) code = Code::kUnavailable;  // as if its launcher had died
  if (error_number == EAGAIN || error_number == ENOMEM || error_number == EMFILE ||
      error_number == ENFILE)
    code = Code::kResourceExhausted;
  return {code,
          fmt::format("worker {} cannot be started from '{}': {}", worker.key.worker,
                      worker.spec ? worker.spec->executable : "", std::strerror(error_number))};
}

ChildEnd end_of(pid_t pid, const v1::ChildExited& exited) {
  ChildEnd end;
  end.pid = pid;
  end.code = exited.code();
  end.status = exited.status();
  end.usage = {.user_seconds = exited.user_seconds(),
               .system_seconds = exited.system_seconds(),
               .voluntary_switches = exited.voluntary_switches(),
               .involuntary_switches = exited.involuntary_switches(),
               .minor_faults = exited.minor_faults(),
               .major_faults = exited.major_faults(),
               .peak_rss_bytes = exited.peak_rss_bytes()};
  return end;
}

HostExited exit_of(WatchedWorker& worker) {
  HostExited exited;
  exited.key = worker.key;
  if (worker.end && worker.end->code == CLD_EXITED) exited.exit_code = worker.end->status;
  if (worker.end && worker.end->code != CLD_EXITED) exited.signal = worker.end->status;
  exited.detected = worker.detected.value_or(base::Clock::now());
  if (worker.end) exited.usage = worker.end->usage;
  exited.output = worker.out.take();
  exited.stderr_tail = worker.err.take();
  exited.log = worker.err.log().path();
  exited.strays_killed = worker.strays_killed;
  return exited;
}

}  // namespace bulkhead::coordinator
