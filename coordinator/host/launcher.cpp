// The launcher: `bulkhead __launcher PID`, a single-threaded child of the coordinator with one end
// of a SOCK_SEQPACKET pair as descriptor 3. All forks happen here, and here the causes of deaths
// are read. It lives no longer than the coordinator: a parent-death signal and the end of the
// socket both tell it to kill and reap what it holds, remove the run directory and leave.
//
// Order on a worker's death: read the cause without reaping, kill the group while its number can't
// be reused, tell the coordinator, reap. A launcher killed in between leaves the zombie to the
// coordinator, a subreaper, which reads the cause itself; a cause told twice is ignored there.
#include <bulkhead/v1/launcher.pb.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/packets.hpp>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <map>

#include "host/fork_server.hpp"
#include "host/local_host.hpp"
#include "host/processes.hpp"
#include "host/run_directory.hpp"
#include "host/spawn.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr int kSocket = 3;
constexpr int kSignals = 4;
constexpr int kParentDied = SIGUSR1;
// How long an orphaned launcher waits for killed processes to end before it leaves all the same.
constexpr std::chrono::seconds kOrphanPatience{10};

class Launcher {
 public:
  explicit Launcher(pid_t coordinator) : coordinator_(coordinator) {}
  int run();

 private:
  enum class Mode { kServing, kFinishing, kOrphaned };

  void read_packets();
  Spawned spawn(const v1::Launch& launch, const std::vector<base::UniqueFd>& fds);
  void on_launch(const v1::Launch& launch, std::vector<base::UniqueFd>& fds);
  void on_kill_group(const v1::KillGroup& kill);
  void read_signals();
  void reap();
  void on_worker_end(const ChildEnd& end);
  void wind_up(Mode mode);
  bool is_known(pid_t pid) const { return workers_.contains(pid) || pid == fork_server_.pid(); }
  unsigned sweep(const std::vector<Process>& table, pid_t counted_group = 0);
  void send(const v1::FromLauncher& message, const std::vector<int>& fds = {});

  const pid_t coordinator_;
  Mode mode_ = Mode::kServing;
  base::TimePoint give_up_{};
  std::string run_directory_;
  std::map<pid_t, WorkerKey> workers_;                     // not reaped yet
  std::vector<std::pair<pid_t, base::UniqueFd>> adopted_;  // by the coordinator, see Adopted
  ForkServer fork_server_{kSocket};
  unsigned strays_ = 0;
};

int Launcher::run() {
  v1::FromLauncher ready;
  ready.mutable_ready();
  send(ready);
  // The parent may have died before its death could be signalled.
  if (::getppid() != coordinator_) wind_up(Mode::kOrphaned);
  for (;;) {
    if (mode_ != Mode::kServing) {
      sweep(list_processes());
      const bool childless = any_child(Collect::kPeek).error_number == ECHILD;
      if (childless || (mode_ == Mode::kOrphaned && base::Clock::now() >= give_up_)) break;
    }
    pollfd ready_fds[] = {{kSignals, POLLIN, 0},
                          {mode_ == Mode::kOrphaned ? -1 : kSocket, POLLIN, 0}};
    // The time-out only serves a sweep that missed a child that was re-parented during it.
    ::poll(ready_fds, 2, mode_ == Mode::kServing ? -1 : 50);
    read_signals();
    reap();
    if (mode_ != Mode::kOrphaned) read_packets();
  }
  if (mode_ == Mode::kFinishing) {
    v1::FromLauncher finished;
    finished.mutable_finished()->set_strays_killed(strays_);
    send(finished);
  } else if (!run_directory_.empty()) {
    // What stays is removed by the next run's sweep.
    (void)remove_tree(run_directory_);
  }
  return 0;
}

void Launcher::read_packets() {
  v1::ToLauncher message;
  std::vector<base::UniqueFd> fds;
  for (;;) {
    switch (wire::receive_packet(kSocket, message, fds)) {
      case wire::Received::kNothing:
        return;
      case wire::Received::kClosed:
        return wind_up(Mode::kOrphaned);
      case wire::Received::kPacket:
        break;
    }
    switch (message.body_case()) {
      case v1::ToLauncher::kLaunch:
        on_launch(message.launch(), fds);
        break;
      case v1::ToLauncher::kKillGroup:
        on_kill_group(message.kill_group());
        break;
      case v1::ToLauncher::kRunDirectory:
        run_directory_ = message.run_directory();
        break;
      case v1::ToLauncher::kAdopted:
        if (!fds.empty())
          adopted_.emplace_back(static_cast<pid_t>(message.adopted().pid()), std::move(fds[0]));
        break;
      case v1::ToLauncher::kFinish:
        wind_up(Mode::kFinishing);
        break;
      case v1::ToLauncher::BODY_NOT_SET:
        break;
    }
  }
}

Spawned Launcher::spawn(const v1::Launch& launch, const std::vector<base::UniqueFd>& fds) {
  SpawnRequest request;
  request.executable = launch.executable();
  request.arguments.assign(launch.arguments().begin(), launch.arguments().end());
  request.lifeline = fds[0].get();
  request.out = fds[1].get();
  request.err = fds[2].get();
  if (fds.size() > 3) request.crash_page = fds[3].get();
  if (launch.fork() && request.arguments.empty() && request.crash_page >= 0)
    if (const auto forked = fork_server_.spawn(request)) return *forked;
  return spawn_worker(request);
}

void Launcher::on_launch(const v1::Launch& launch, std::vector<base::UniqueFd>& fds) {
  Spawned spawned;
  base::UniqueFd pidfd;
  if (mode_ != Mode::kServing) {
    spawned.error_number = ECANCELED;
  } else if (fds.size() < 3) {
    spawned.error_number = EMFILE;  // the kernel drops what finds no free number here
  } else {
    spawned = spawn(launch, fds);
    if (spawned.error_number == 0) {
      pidfd = open_pidfd(spawned.pid);
      if (!pidfd) {
        // Nobody could watch it: a stray from now on.
        spawned.error_number = errno;
        kill_process_group(spawned.pid);
      }
    }
  }
  v1::FromLauncher answer;
  if (spawned.error_number != 0) {
    answer.mutable_launch_failed()->set_worker(launch.worker());
    answer.mutable_launch_failed()->set_incarnation(launch.incarnation());
    answer.mutable_launch_failed()->set_error_number(spawned.error_number);
    return send(answer);
  }
  workers_[spawned.pid] = {launch.worker(), launch.incarnation()};
  answer.mutable_launched()->set_worker(launch.worker());
  answer.mutable_launched()->set_incarnation(launch.incarnation());
  answer.mutable_launched()->set_pid(static_cast<std::uint32_t>(spawned.pid));
  send(answer, {pidfd.get()});
}

void Launcher::on_kill_group(const v1::KillGroup& kill) {
  const WorkerKey key{kill.worker(), kill.incarnation()};
  for (const auto& [pid, worker] : workers_)
    if (worker == key) kill_process_group(pid);
}

void Launcher::read_signals() {
  signalfd_siginfo info;
  while (::read(kSignals, &info, sizeof info) == sizeof info) {
    // It also comes when only the thread that started us has ended.
    if (info.ssi_signo == kParentDied && ::getppid() != coordinator_) wind_up(Mode::kOrphaned);
  }
}

// Signals merge, so all that has ended is looked for each time.
void Launcher::reap() {
  bool reaped = false;
  for (;;) {
    const ChildEnd end = any_child(Collect::kPeek);
    if (end.pid == 0) break;
    if (workers_.contains(end.pid)) on_worker_end(end);
    child_by_pid(end.pid, Collect::kReap);
    workers_.erase(end.pid);
    fork_server_.reaped(end.pid);
    reaped = true;
  }
  // The dead may have left children of their own to us.
  if (reaped && may_have_strays([this](pid_t pid) { return is_known(pid); }))
    strays_ += sweep(list_processes());
}

void Launcher::on_worker_end(const ChildEnd& end) {
  unsigned killed = 0;
  if (may_have_strays([this](pid_t pid) { return is_known(pid); })) {
    const std::vector<Process> table = list_processes();
    killed = kill_group_of(end.pid, table) + sweep(table, end.pid);
    strays_ += killed;
  }
  v1::FromLauncher message;
  v1::ChildExited& exited = *message.mutable_exited();
  const WorkerKey key = workers_.at(end.pid);
  exited.set_worker(key.worker);
  exited.set_incarnation(key.incarnation);
  exited.set_pid(static_cast<std::uint32_t>(end.pid));
  exited.set_code(end.code);
  exited.set_status(end.status);
  exited.set_user_seconds(end.usage.user_seconds);
  exited.set_system_seconds(end.usage.system_seconds);
  exited.set_voluntary_switches(end.usage.voluntary_switches);
  exited.set_involuntary_switches(end.usage.involuntary_switches);
  exited.set_minor_faults(end.usage.minor_faults);
  exited.set_major_faults(end.usage.major_faults);
  exited.set_peak_rss_bytes(end.usage.peak_rss_bytes);
  exited.set_strays_killed(killed);
  send(message);
}

void Launcher::wind_up(Mode mode) {
  if (mode_ == Mode::kOrphaned) return;
  mode_ = mode;
  give_up_ = base::Clock::now() + kOrphanPatience;
  fork_server_.stop();
  if (mode == Mode::kOrphaned) {
    // A packet that tells the run directory may still be unread.
    v1::ToLauncher message;
    std::vector<base::UniqueFd> fds;
    while (wire::receive_packet(kSocket, message, fds) == wire::Received::kPacket)
      if (message.has_run_directory()) run_directory_ = message.run_directory();
    // Not our children: the pidfd says whether the number still means them.
    for (const auto& [pid, pidfd] : adopted_)
      if (send_signal(pidfd.get(), SIGKILL)) kill_process_group(pid);
  }
  for (const auto& [pid, key] : workers_) kill_process_group(pid);
}

unsigned Launcher::sweep(const std::vector<Process>& table, pid_t counted_group) {
  return kill_strays([this](pid_t pid) { return is_known(pid); }, table, counted_group);
}

// Waits while the coordinator does not read; a failure means that it is gone, and the socket's end
// tells us so.
void Launcher::send(const v1::FromLauncher& message, const std::vector<int>& fds) {
  (void)wire::send_packet(kSocket, message.SerializeAsString(), fds, 0);
}

// Gives 0-2 and 4 their fixed meaning and closes whatever else came along.
bool claim_descriptors() {
  ::syscall(SYS_close_range, 4u, ~0u, 0u);
  for (int fd = 0; fd <= 2; ++fd)
    if (::fcntl(fd, F_GETFD) < 0 && ::open("/dev/null", O_RDWR) != fd) return false;
  sigset_t handled;
  ::sigemptyset(&handled);
  ::sigaddset(&handled, SIGCHLD);
  ::sigaddset(&handled, kParentDied);
  if (::sigprocmask(SIG_BLOCK, &handled, nullptr) != 0) return false;
  const int signals = ::signalfd(-1, &handled, SFD_CLOEXEC | SFD_NONBLOCK);
  if (signals < 0) return false;
  if (signals != kSignals && ::dup3(signals, kSignals, O_CLOEXEC) < 0) return false;
  return ::fcntl(kSocket, F_SETFD, FD_CLOEXEC) == 0;
}

}  // namespace

int launcher_main(int argc, char** argv) {
  int type = 0;
  socklen_t size = sizeof type;
  const bool called_right = argc == 3 &&
                            ::getsockopt(kSocket, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
                            type == SOCK_SEQPACKET;
  if (!called_right) {
    std::fprintf(stderr, "bulkhead: __launcher is for bulkhead's own use\n");
    return 2;
  }
  // Only the coordinator and its death may end it: what a terminal or a job control sends, the
  // coordinator answers for both.
  for (int number : {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGPIPE}) ::signal(number, SIG_IGN);
  ::signal(SIGCHLD, SIG_DFL);
  if (!claim_descriptors() || ::prctl(PR_SET_PDEATHSIG, kParentDied) != 0 ||
      ::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0) {
    std::perror("bulkhead: the launcher cannot start");
    return 70;
  }
  return Launcher(static_cast<pid_t>(std::strtol(argv[2], nullptr, 10))).run();
}

}  // namespace bulkhead::coordinator
