// LocalHost: see local_host.hpp. Every source of news is in one EventSet, which is the event_fd:
// the launcher's socket and pidfd, each worker's pidfd and pipes, and a timer for the few waits
// that have a bound. A worker's HostExited needs three things: its pidfd was readable (when), its
// cause came (why: from the launcher, or from our own waitid once its launcher is dead), its output
// ended.
#include "host/local_host.hpp"

#include <bulkhead/v1/launcher.pb.h>
#include <signal.h>
#include <spdlog/spdlog.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <set>

#include "host/event_set.hpp"
#include "host/launcher_link.hpp"
#include "host/processes.hpp"
#include "host/strays.hpp"
#include "host/watched_worker.hpp"

namespace bulkhead::coordinator {
namespace {

using namespace std::chrono_literals;
using State = WatchedWorker::State;

constexpr auto kDrainLimit = 100ms;       // output that a stray holds open
constexpr auto kCauseLimit = 10s;         // a launcher that does not explain a death is replaced
constexpr auto kFinishLimit = 5s;         // for the launcher's own shutdown
constexpr auto kStrayLimit = 2s;          // for killed processes to end
constexpr int kLauncherFailureLimit = 3;  // launchers in a row that never worked

class LocalHost final : public Host {
 public:
  LocalHost(std::string run_directory, std::string launcher_executable)
      : run_directory_(std::move(run_directory)), executable_(std::move(launcher_executable)) {}
  ~LocalHost() override { shutdown(); }

  Result<void> start();
  pid_t launcher() const { return link_ ? link_->pid() : -1; }

  int event_fd() const override { return watched_.fd(); }
  Result<void> launch(LaunchSpec spec) override;
  std::vector<HostEvent> take_events() override;
  void signal(WorkerKey key, int signal_number) override;
  void kill_group(WorkerKey key) override;
  std::optional<double> pss_bytes(WorkerKey key) const override;
  std::optional<double> resident_bytes(WorkerKey key) const override;
  void shutdown() override;

 private:
  using Workers = std::map<std::uint64_t, WatchedWorker>;

  pid_t live_pid(WorkerKey key) const;  // 0: not launched, or known to have ended

  // Launcher.
  Result<void> start_launcher();
  void ask_for(WatchedWorker& worker);
  void read_launcher();
  void on_launched(const v1::Launched& launched, std::vector<base::UniqueFd>& fds);
  void on_launch_failed(const v1::LaunchFailed& failed);
  void on_cause(const v1::ChildExited& exited);
  void replace_launcher();
  void watch_writable();

  // Workers.
  void handle_ready(int timeout_ms);
  void on_ready(std::uint64_t number, Source source);
  void read_output(PipeReader& pipe);
  void settle();
  void collect_adopted(WatchedWorker& worker);
  void emit_exit(WatchedWorker& worker);
  void arm_timer();

  // Children that are no strays.
  std::set<pid_t> known_children() const;

  Workers::iterator find(WorkerKey key);
  WatchedWorker* find_if(WorkerKey key, State state);

  // Fixed after construction.
  const std::string run_directory_;
  const std::string executable_;
  std::set<pid_t> spared_;  // children that the process had before

  EventSet watched_;
  std::unique_ptr<LauncherLink> link_;  // none once it can't be started, or after shutdown
  bool watching_writable_ = false;
  bool launcher_worked_ = false;
  int launcher_failures_ = 0;
  Error launcher_error_;
  Workers workers_;
  std::uint64_t next_number_ = 1;
  bool shutting_down_ = false;
  bool log_failed_ = false;  // and it was told
  std::vector<HostEvent> events_;
};

// --- life of the host ---

Result<void> LocalHost::start() {
  if (::prctl(PR_SET_CHILD_SUBREAPER, 1) != 0)
    return fail(Code::kIoError, "cannot become a subreaper: {}", std::strerror(errno));
  if (auto opened = watched_.open(); !opened) return fail(opened.error());
  for (const Process& process : list_processes())
    if (process.parent == ::getpid()) spared_.insert(process.pid);
  return start_launcher();
}

std::vector<HostEvent> LocalHost::take_events() {
  if (!shutting_down_) handle_ready(0);
  return std::exchange(events_, {});
}

void LocalHost::shutdown() {
  if (shutting_down_ || !watched_.is_open()) return;
  shutting_down_ = true;
  if (link_) {
    v1::ToLauncher finish;
    finish.mutable_finish();
    link_->send(finish);
  }
  const base::TimePoint deadline = base::Clock::now() + kFinishLimit;
  while (link_ && base::Clock::now() < deadline) handle_ready(20);
  if (link_) replace_launcher();  // kills it; none follows
  for (auto& [number, worker] : workers_)
    if (worker.state == State::kAdopted && !worker.explained) kill_process_group(worker.pid);
  const base::TimePoint last = base::Clock::now() + kStrayLimit;
  while (!workers_.empty() && base::Clock::now() < last) handle_ready(20);
  // What can't end even after SIGKILL (a hung disk) is left to init, and said so.
  for (auto& [number, worker] : workers_)
    if (worker.state != State::kAsked) {
      std::fprintf(stderr, "bulkhead: worker %u (pid %d) does not end after SIGKILL\n",
                   worker.key.worker, worker.pid);
      emit_exit(worker);
    }
  workers_.clear();
  end_own_strays(known_children(), kStrayLimit);
  arm_timer();
}

// --- the launcher ---

Result<void> LocalHost::start_launcher() {
  auto started = LauncherLink::start(executable_);
  if (!started) {
    launcher_error_ = started.error();
    return fail(started.error());
  }
  link_ = std::move(*started);
  launcher_worked_ = false;
  watching_writable_ = false;
  watched_.add(link_->socket(), 0, Source::kSocket);
  watched_.add(link_->pidfd(), 0, Source::kLauncher);
  if (!run_directory_.empty()) {
    v1::ToLauncher message;
    message.set_run_directory(run_directory_);
    link_->send(message);
  }
  watch_writable();
  return {};
}

void LocalHost::ask_for(WatchedWorker& worker) {
  std::vector<int> fds;
  const v1::ToLauncher message = launch_request(worker, fds);
  link_->send(message, std::move(fds));
  watch_writable();
}

void LocalHost::read_launcher() {
  v1::FromLauncher message;
  std::vector<base::UniqueFd> fds;
  while (link_ && link_->receive(message, fds) == wire::Received::kPacket) {
    launcher_worked_ = true;
    launcher_failures_ = 0;
    switch (message.body_case()) {
      case v1::FromLauncher::kLaunched:
        on_launched(message.launched(), fds);
        break;
      case v1::FromLauncher::kLaunchFailed:
        on_launch_failed(message.launch_failed());
        break;
      case v1::FromLauncher::kExited:
        on_cause(message.exited());
        break;
      // The end of a launcher that has finished is told by its pidfd.
      case v1::FromLauncher::kFinished:
      case v1::FromLauncher::kReady:
      case v1::FromLauncher::BODY_NOT_SET:
        break;
    }
  }
}

void LocalHost::on_launched(const v1::Launched& launched, std::vector<base::UniqueFd>& fds) {
  const auto found = find({launched.worker(), launched.incarnation()});
  if (found == workers_.end() || found->second.state != State::kAsked) return;
  WatchedWorker& worker = found->second;
  worker.state = State::kHeld;
  worker.pid = static_cast<pid_t>(launched.pid());
  // Without a free descriptor here the kernel drops the pidfd: the cause alone then tells the
  // death.
  if (!fds.empty()) worker.pidfd = std::move(fds[0]);
  worker.spec.reset();
  worker.crash_page.reset();
  worker.out_writer.reset();
  worker.err_writer.reset();
  if (worker.pidfd) watched_.add(worker.pidfd.get(), found->first, Source::kPidfd);
  events_.emplace_back(HostLaunched{worker.key, worker.pid});
  if (worker.kill_wanted) kill_group(worker.key);
}

void LocalHost::on_launch_failed(const v1::LaunchFailed& failed) {
  const auto found = find({failed.worker(), failed.incarnation()});
  if (found == workers_.end() || found->second.state != State::kAsked) return;
  events_.emplace_back(
      HostLaunchFailed{found->second.key, launch_error(found->second, failed.error_number())});
  workers_.erase(found);
}

void LocalHost::on_cause(const v1::ChildExited& exited) {
  WatchedWorker* worker = find_if({exited.worker(), exited.incarnation()}, State::kHeld);
  if (worker == nullptr || worker->explained) return;
  worker->end = end_of(worker->pid, exited);
  worker->strays_killed = exited.strays_killed();
  worker->explained = base::Clock::now();
  if (!worker->detected) worker->detected = worker->explained;
}

// The launcher is dead or is given up. Its children are ours from its exit on: those that it told
// us of stay and are adopted; one whose launch was never answered is a stray like any other, and is
// gone before the launch is reported as failed. It is not tried again here: a process may have been
// there, and have read its boot message from the lifeline, so only a new incarnation can start
// clean.
void LocalHost::replace_launcher() {
  link_->end();
  read_launcher();
  if (!launcher_worked_) ++launcher_failures_;
  link_.reset();
  for (auto& [number, worker] : workers_) {
    if (worker.state != State::kHeld) continue;
    worker.state = State::kAdopted;
    if (worker.kill_wanted && !worker.explained) kill_process_group(worker.pid);
    if (worker.detected && !worker.explained) collect_adopted(worker);
  }
  end_own_strays(known_children(), kStrayLimit);
  while (!shutting_down_ && !link_ && launcher_failures_ < kLauncherFailureLimit)
    if (!start_launcher()) ++launcher_failures_;
  if (!link_ && launcher_error_.text.empty())
    launcher_error_ = {Code::kUnavailable,
                       fmt::format("the launcher '{}' ended {} times before it worked", executable_,
                                   launcher_failures_)};
  for (auto it = workers_.begin(); it != workers_.end();) {
    WatchedWorker& worker = it->second;
    if (worker.state != State::kAsked) {
      if (link_ && !worker.explained && worker.pidfd) {
        v1::ToLauncher message;
        message.mutable_adopted()->set_pid(static_cast<std::uint32_t>(worker.pid));
        link_->send(message, {worker.pidfd.get()});
      }
      ++it;
    } else {
      const Error lost{Code::kUnavailable,
                       shutting_down_ ? "the host is shut down" : "what launched it died"};
      events_.emplace_back(HostLaunchFailed{worker.key, link_ ? lost : launcher_error_});
      it = workers_.erase(it);
    }
  }
}

void LocalHost::watch_writable() {
  if (!link_) return;
  const bool wanted = link_->flush();
  if (wanted == watching_writable_) return;
  watching_writable_ = wanted;
  watched_.watch_writable(link_->socket(), 0, Source::kSocket, wanted);
}

// --- workers ---

Result<void> LocalHost::launch(LaunchSpec spec) {
  if (shutting_down_) return fail(Code::kUnavailable, "the host is shut down");
  if (!link_) return fail(launcher_error_);
  if (find(spec.key) != workers_.end())
    return fail(Code::kInvalidArgument, "worker {} incarnation {} was launched before",
                spec.key.worker, spec.key.incarnation);
  auto worker = prepare(std::move(spec));
  if (!worker) return fail(worker.error());
  const std::uint64_t number = next_number_++;
  WatchedWorker& kept = workers_.emplace(number, std::move(*worker)).first->second;
  if (kept.out_writer) watched_.add(kept.out.fd(), number, Source::kOut);
  watched_.add(kept.err.fd(), number, Source::kErr);
  ask_for(kept);
  return {};
}

void LocalHost::signal(WorkerKey key, int signal_number) {
  const auto found = find(key);
  if (found != workers_.end() && found->second.pidfd)
    (void)send_signal(found->second.pidfd.get(), signal_number);
}

void LocalHost::kill_group(WorkerKey key) {
  const auto found = find(key);
  if (found == workers_.end() || found->second.explained) return;
  WatchedWorker& worker = found->second;
  worker.kill_wanted = true;  // once launched, or again if the launcher dies before it obeys
  if (worker.state == State::kAdopted) kill_process_group(worker.pid);
  if (worker.state != State::kHeld || !link_) return;
  v1::ToLauncher message;
  message.mutable_kill_group()->set_worker(key.worker);
  message.mutable_kill_group()->set_incarnation(key.incarnation);
  link_->send(message);
  watch_writable();
}

pid_t LocalHost::live_pid(WorkerKey key) const {
  for (const auto& [number, worker] : workers_) {
    if (worker.key == key && worker.pid != 0 && !worker.detected) return worker.pid;
  }
  return 0;
}

std::optional<double> LocalHost::pss_bytes(WorkerKey key) const {
  const pid_t pid = live_pid(key);
  return pid == 0 ? std::nullopt : pss_bytes_of(pid);
}

std::optional<double> LocalHost::resident_bytes(WorkerKey key) const {
  const pid_t pid = live_pid(key);
  return pid == 0 ? std::nullopt : resident_bytes_of(pid);
}

void LocalHost::handle_ready(int timeout_ms) {
  for (const EventSet::Ready& ready : watched_.wait(timeout_ms))
    on_ready(ready.number, ready.source);
  settle();
  arm_timer();
}

void LocalHost::on_ready(std::uint64_t number, Source source) {
  const auto found = workers_.find(number);
  WatchedWorker* const worker = found == workers_.end() ? nullptr : &found->second;
  switch (source) {
    case Source::kSocket:
      read_launcher();
      return watch_writable();
    case Source::kLauncher:
      // Stale when it was replaced in this very round: the news is about the one before.
      if (link_ && child_by_pidfd(link_->pidfd(), Collect::kPeek).pid != 0) replace_launcher();
      return;
    case Source::kTimer:
      return;  // arm_timer sets it anew
    case Source::kPidfd:
      if (worker == nullptr || worker->detected) return;
      worker->detected = base::Clock::now();
      watched_.remove(worker->pidfd.get());
      return;
    case Source::kOut:
      if (worker != nullptr) read_output(worker->out);
      return;
    case Source::kErr:
      if (worker != nullptr) read_output(worker->err);
      return;
  }
}

// A disk that is full is full for every worker: once is enough to know it.
void LocalHost::read_output(PipeReader& pipe) {
  const auto read = pipe.read_some();
  if (read || std::exchange(log_failed_, true)) return;
  spdlog::warn("{}; the run goes on without it, and no other log that fails is told",
               read.error().text);
}

void LocalHost::settle() {
  const base::TimePoint now = base::Clock::now();
  for (auto& [number, worker] : workers_)
    if (worker.detected && !worker.explained && worker.state == State::kHeld && link_ &&
        now >= *worker.detected + kCauseLimit) {
      replace_launcher();
      break;
    }
  for (auto it = workers_.begin(); it != workers_.end();) {
    WatchedWorker& worker = it->second;
    if (worker.state == State::kAdopted && worker.detected && !worker.explained)
      collect_adopted(worker);
    const bool drained = worker.out.at_end() && worker.err.at_end();
    if (worker.explained && (drained || now >= *worker.explained + kDrainLimit)) {
      emit_exit(worker);
      it = workers_.erase(it);
    } else {
      ++it;
    }
  }
}

// The same order as the launcher's: cause, group, reap.
void LocalHost::collect_adopted(WatchedWorker& worker) {
  const ChildEnd end = child_by_pid(worker.pid, Collect::kPeek);
  if (end.pid != 0) {
    worker.end = end;
    worker.strays_killed = kill_group_of(worker.pid, list_processes());
    child_by_pid(worker.pid, Collect::kReap);
  }
  // Otherwise its launcher had reaped it, and the cause died with that launcher.
  worker.explained = base::Clock::now();
  kill_own_strays(known_children());
}

void LocalHost::emit_exit(WatchedWorker& worker) { events_.emplace_back(exit_of(worker)); }

// Wakes take_events() for the next bound, or at once for events that are already there.
void LocalHost::arm_timer() {
  std::optional<base::TimePoint> next;
  for (const auto& [number, worker] : workers_) {
    std::optional<base::TimePoint> due;
    if (worker.explained) due = *worker.explained + kDrainLimit;
    if (!worker.explained && worker.detected) due = *worker.detected + kCauseLimit;
    if (due && (!next || *due < *next)) next = due;
  }
  if (!events_.empty()) return watched_.wake_after(base::Duration(0));
  watched_.wake_after(next ? std::optional(*next - base::Clock::now()) : std::nullopt);
}

std::set<pid_t> LocalHost::known_children() const {
  std::set<pid_t> known = spared_;
  if (link_) known.insert(link_->pid());
  for (const auto& [number, worker] : workers_)
    if (worker.state == State::kAdopted && !worker.explained) known.insert(worker.pid);
  return known;
}

LocalHost::Workers::iterator LocalHost::find(WorkerKey key) {
  return std::find_if(workers_.begin(), workers_.end(),
                      [key](const auto& entry) { return entry.second.key == key; });
}

WatchedWorker* LocalHost::find_if(WorkerKey key, State state) {
  const auto found = find(key);
  return found != workers_.end() && found->second.state == state ? &found->second : nullptr;
}

}  // namespace

Result<std::unique_ptr<Host>> start_local_host(const std::string& run_directory,
                                               const std::string& launcher_executable) {
  auto host = std::make_unique<LocalHost>(run_directory, launcher_executable);
  if (auto started = host->start(); !started) return fail(started.error());
  return host;
}

pid_t launcher_pid(const Host& host) {
  const auto* const local = dynamic_cast<const LocalHost*>(&host);
  return local == nullptr ? -1 : local->launcher();
}

}  // namespace bulkhead::coordinator
