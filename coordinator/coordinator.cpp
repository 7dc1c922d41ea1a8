#include "coordinator.hpp"

#include <fmt/format.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/text.hpp>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <utility>

#include "cli/options.hpp"
#include "dispatch/isolated_dispatch.hpp"
#include "dispatch/shared_dispatch.hpp"

namespace bulkhead::coordinator {
namespace {

constexpr auto kHandshake = std::chrono::seconds(20);
constexpr auto kProgressEvery = std::chrono::milliseconds(100);
// What the epoll set's other descriptors carry; worker 0 does not exist.
constexpr std::uint64_t kNotALifeline = 0;
constexpr int kMessagesPerTurn = 1000;  // so that exits and signals get their turn

std::string random_bytes(std::size_t count) {
  std::string bytes(count, '\0');
  BULKHEAD_CHECK(getrandom(bytes.data(), count, 0) == static_cast<ssize_t>(count),
                 "getrandom: errno {}", errno);
  return bytes;
}

// The time it takes says nothing about where the first difference is.
bool equal_secrets(const std::string& a, const std::string& b) {
  unsigned char difference = a.size() == b.size() ? 0 : 1;
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i) {
    difference |= static_cast<unsigned char>(a[i] ^ b[i]);
  }
  return difference == 0;
}

double own_cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& time) {
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_usec) * 1e-6;
  };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

DispatchSettings dispatch_settings(const Environment& environment, const RunSettings& settings) {
  DispatchSettings result;
  result.workers = settings.workers;
  result.in_flight = settings.in_flight;
  result.max_attempts = settings.max_attempts;
  result.spill_directory = environment.run_directory;
  result.faults = settings.faults;
  return result;
}

SupervisorSettings supervisor_settings(const RunSettings& settings) {
  SupervisorSettings result;
  result.workers = settings.workers;
  result.handshake_deadline = kHandshake;
  result.seed = settings.seed;
  return result;
}

}  // namespace

struct Coordinator::WorkerRecord {
  wire::CrashPageMapping page;
  base::UniqueFd lifeline;
  std::string token;
  bool was_ready = false;
  std::optional<base::TimePoint> marked_at;  // its crash handler spoke
};

Coordinator::Coordinator(const Environment& environment, const RunSettings& settings)
    : environment_(environment),
      settings_(settings),
      supervisor_(supervisor_settings(settings)),
      events_(epoll_create1(EPOLL_CLOEXEC)),
      run_id_(random_bytes(8)),
      timed_fault_done_(settings.faults.size(), false) {
  const DispatchSettings dispatch = dispatch_settings(environment, settings);
  if (is_isolated(settings.model)) {
    dispatch_ = std::make_unique<IsolatedDispatch>(dispatch);
  } else {
    dispatch_ = std::make_unique<SharedDispatch>(dispatch);
  }
  dispatch_->on_service = [this](double seconds) {
    outcome_.service.record(seconds);
    service_seconds_ += seconds;
  };
  for (const int fd : {environment.host.event_fd(), environment.interrupts.fd()}) {
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = kNotALifeline;
    BULKHEAD_CHECK(epoll_ctl(events_.get(), EPOLL_CTL_ADD, fd, &event) == 0, "epoll_ctl: errno {}",
                   errno);
  }
  outcome_.fired.assign(settings.faults.size(), 0);
}

Coordinator::~Coordinator() = default;

RunOutcome Coordinator::run() {
  started_at_ = base::Clock::now();
  coordinator_cpu_before_ = own_cpu_seconds();
  supervisor_.start(started_at_);
  perform_actions();
  while (!supervisor_.all_exited()) {
    wait_for_events();
    take_messages();  // before exits: what a dead worker still said counts
    take_host_events();
    take_interrupts();
    fire_timed_faults();
    supervisor_.tick(base::Clock::now());
    begin_when_ready();
    end_when_finished();
    perform_actions();
  }
  return outcome();
}

void Coordinator::wait_for_events() {
  const base::TimePoint now = base::Clock::now();
  std::optional<base::TimePoint> until = supervisor_.next_deadline();
  const auto consider = [&](base::TimePoint time) {
    if (!until || time < *until) until = time;
  };
  if (ready_at_ && !ending_) {
    for (std::size_t i = 0; i < settings_.faults.size(); ++i) {
      // One that is due waits for its target to be ready, which is an event of its own.
      const base::TimePoint due = *ready_at_ + settings_.faults[i].after;
      if (settings_.faults[i].worker && !timed_fault_done_[i] && due > now) consider(due);
    }
    if (settings_.timeout) consider(*ready_at_ + *settings_.timeout);
  }
  if (settings_.progress && !ending_) consider(progress_at_ + kProgressEvery);
  base::Duration timeout(-1);
  if (until) timeout = std::max(*until - now, base::Duration(0));
  if (environment_.router.wait(events_.get(), timeout).descriptor) note_crash_marks();
  if (settings_.progress && !ending_ && base::Clock::now() >= progress_at_ + kProgressEvery) {
    progress_at_ = base::Clock::now();
    settings_.progress(dispatch_->ledger().final_count(), dispatch_->known_jobs());
  }
}

// A crash handler says so on the lifeline, long before the kernel has taken its process apart: this
// is when the crash is known. What it was is learnt from the page and from the exit.
void Coordinator::note_crash_marks() {
  std::array<epoll_event, 64> events{};
  const int count = epoll_wait(events_.get(), events.data(), static_cast<int>(events.size()), 0);
  const base::TimePoint now = base::Clock::now();
  for (int i = 0; i < count; ++i) {
    const std::uint64_t packed = events[static_cast<std::size_t>(i)].data.u64;
    if (packed == kNotALifeline) continue;
    const auto record = workers_.find({static_cast<std::uint32_t>(packed >> 32),
                                       static_cast<std::uint32_t>(packed & 0xffffffff)});
    if (record == workers_.end() || record->second.marked_at || !record->second.lifeline) continue;
    char mark = 0;
    // Nothing but the mark ever comes this way; 0 is the end of file of a worker that is gone.
    if (recv(record->second.lifeline.get(), &mark, 1, MSG_DONTWAIT) == 1) {
      record->second.marked_at = now;
    }
  }
}

void Coordinator::take_messages() {
  for (int i = 0; i < kMessagesPerTurn; ++i) {
    const auto message = environment_.router.receive();
    if (!message) return;
    take_message(*message);
  }
}

void Coordinator::take_message(const transport::Message& message) {
  const auto identity = wire::decode_identity(message.peer);
  if (!identity || identity->run_id != run_id_) return;  // a stranger, or an earlier run's worker
  const WorkerKey key{identity->worker, identity->incarnation};
  const auto record = workers_.find(key);
  if (record == workers_.end()) return;
  ++messages_;
  bytes_ += message.bytes.size();
  auto decoded = wire::decode_to_coordinator(message.bytes);
  if (!record->second.was_ready) {
    // Nothing is believed, and nobody is condemned, before the token has been seen.
    if (decoded && decoded->has_hello()) take_hello(key, decoded->hello());
    return;
  }
  if (!supervisor_.is_current(key)) {
    if (decoded && !ending_) dispatch_->late_message(key, std::move(*decoded));
    return;
  }
  if (!decoded) return supervisor_.condemn(key, "protocol error: " + decoded.error().text);
  if (decoded->has_goodbye()) {
    supervisor_.goodbye(key);
    record->second.lifeline.reset();  // its end of file lets the worker go
    return;
  }
  if (const auto taken = dispatch_->message(key, std::move(*decoded)); !taken) {
    supervisor_.condemn(key, "protocol error: it " + taken.error().text);
  }
}

void Coordinator::take_hello(WorkerKey key, const v1::Hello& hello) {
  WorkerRecord& record = workers_.at(key);
  v1::ToWorker answer;
  const auto reject = [&](v1::Code code, const std::string& text) {
    answer.mutable_reject()->set_code(code);
    answer.mutable_reject()->set_text(text);
    send(key, answer);
  };
  if (!equal_secrets(hello.token(), record.token) || hello.worker() != key.worker ||
      hello.incarnation() != key.incarnation) {
    return reject(v1::CODE_UNAUTHENTICATED, "wrong token");
  }
  std::string mismatch;
  if (hello.protocol() != wire::kProtocol) {
    mismatch = fmt::format("it speaks protocol {}, this coordinator {}", hello.protocol(),
                           wire::kProtocol);
  } else if (hello.build_id() != wire::build_id()) {
    mismatch = fmt::format("it was built from library {}, this coordinator from {}",
                           wire::printable(hello.build_id(), 40), wire::build_id());
  } else if (hello.program_digest() != settings_.program_digest) {
    mismatch = fmt::format("its program {} has digest {}, not {}", settings_.program,
                           wire::printable(hello.program_digest(), 40), settings_.program_digest);
  }
  if (!mismatch.empty()) {
    reject(v1::CODE_VERSION_MISMATCH, mismatch);
    return supervisor_.condemn(key, mismatch);
  }
  const base::TimePoint now = base::Clock::now();
  if (!supervisor_.hello(key, now)) return reject(v1::CODE_UNAVAILABLE, "not expected any more");
  record.was_ready = true;
  answer.mutable_welcome();
  send(key, answer);
  dispatch_->worker_ready(key);
  if (const auto waiting = awaiting_recovery_.find(key.worker);
      waiting != awaiting_recovery_.end()) {
    outcome_.exits[waiting->second].set_recovered_after_seconds(
        base::to_seconds(now - died_at_[key.worker]));
    awaiting_recovery_.erase(waiting);
  }
}

void Coordinator::take_host_events() {
  for (HostEvent& event : environment_.host.take_events()) {
    if (const auto* launched = std::get_if<HostLaunched>(&event)) {
      supervisor_.launched(launched->key, base::Clock::now());
    } else if (const auto* failed = std::get_if<HostLaunchFailed>(&event)) {
      launch_failed(failed->key, failed->error.text);
    } else {
      worker_exited(std::move(std::get<HostExited>(event)));
    }
  }
}

void Coordinator::launch_failed(WorkerKey key, const std::string& why) {
  const WorkerEnd end = supervisor_.launch_failed(key, why, base::Clock::now());
  spdlog::warn("worker {}.{} was not launched: {}", key.worker, key.incarnation, why);
  v1::WorkerExit& exit = outcome_.exits.emplace_back();
  exit.set_worker(end.key.worker);
  exit.set_incarnation(end.key.incarnation);
  exit.set_verdict(end.verdict);
  exit.set_reason(end.reason);
  exit.set_repetition(settings_.repetition);
  exit.set_state(to_string(end.state));
}

void Coordinator::worker_exited(HostExited&& exited) {
  const WorkerKey key = exited.key;
  const auto found = workers_.find(key);
  if (found == workers_.end() || !supervisor_.is_current(key)) return;
  WorkerRecord& record = found->second;
  take_messages();  // what it said before it died is safe
  const wire::CrashSnapshot snapshot = record.page.snapshot();
  const base::TimePoint now = base::Clock::now();
  const bool fruitful = snapshot.finished > 0 || !snapshot.running.empty();
  const WorkerEnd end = supervisor_.exited(key, exited.exit_code, exited.signal, fruitful, now);
  worker_cpu_seconds_ += exited.usage.user_seconds + exited.usage.system_seconds;

  v1::WorkerExit exit;
  if (end.is_crash) {
    spdlog::info("worker {}.{} {} while {}", key.worker, key.incarnation, end.reason,
                 to_string(end.state));
  } else {
    spdlog::debug("worker {}.{} {} {}", key.worker, key.incarnation, end.verdict, end.reason);
  }
  exit.set_worker(key.worker);
  exit.set_incarnation(key.incarnation);
  exit.set_verdict(end.verdict);
  exit.set_reason(end.reason);
  exit.set_repetition(settings_.repetition);
  exit.set_state(to_string(end.state));
  if (exited.signal) exit.set_signal(static_cast<std::uint32_t>(*exited.signal));
  if (exited.exit_code) exit.set_exit_code(static_cast<std::uint32_t>(*exited.exit_code));
  if (end.verdict != "finished") {
    exit.set_stderr_tail(wire::printable(exited.stderr_tail, 4096, true));
  }
  const base::TimePoint detected =
      std::min(record.marked_at.value_or(exited.detected), exited.detected);
  base::TimePoint died = detected;
  if (end.is_crash) {
    if (snapshot.has_fatal && snapshot.fatal.si_code > 0) {
      exit.set_fault_address(fmt::format("{:#x}", snapshot.fatal.address));
    }
    const base::TimePoint stamp{base::Duration(snapshot.fault_stamp_ns)};
    if (snapshot.fault_stamp_ns > 0 && stamp <= detected) {
      died = stamp;
      exit.set_detected_after_seconds(base::to_seconds(detected - stamp));
    }
  }
  if (ending_ || dispatch_->finished() || !record.was_ready) {
    dispatch_->count_fired(key, snapshot);
  } else {
    record_loss(exit, key, snapshot, end);
  }
  if (end.verdict != "finished" && !ending_) {
    awaiting_recovery_[key.worker] = outcome_.exits.size();
    died_at_[key.worker] = died;
  }
  outcome_.exits.push_back(std::move(exit));
  record.lifeline.reset();
  record.page = {};
}

void Coordinator::record_loss(v1::WorkerExit& exit, WorkerKey key,
                              const wire::CrashSnapshot& snapshot, const WorkerEnd& end) {
  std::uint64_t others = 0;
  for (const WorkerKey& other : supervisor_.ready()) {
    others += dispatch_->at_risk(other, workers_.at(other).page.snapshot());
  }
  const Loss loss = dispatch_->worker_lost(
      key, snapshot, end.is_crash,
      fmt::format("{} in worker {}.{}", end.reason, key.worker, key.incarnation));
  exit.set_lost_in_flight(static_cast<double>(loss.lost_in_flight));
  exit.set_results_lost(static_cast<double>(loss.results_lost));
  if (loss.job) exit.set_job(static_cast<double>(*loss.job));
  for (const std::uint64_t job : loss.suspects) exit.add_suspects(static_cast<double>(job));
  if (end.is_crash && loss.at_risk() > 0) {
    exit.set_blast_radius(static_cast<double>(loss.at_risk()) /
                          static_cast<double>(loss.at_risk() + others));
  }
  const double done = static_cast<double>(outcome_.service.count());
  const double mean = done > 0 ? service_seconds_ / done : 0;
  outcome_.work_lost_seconds += mean * static_cast<double>(loss.at_risk());
}

void Coordinator::take_interrupts() {
  const int count = environment_.interrupts.poll();
  if (count == interrupts_seen_) return;
  const bool again = interrupts_seen_ > 0 || count > 1;
  interrupts_seen_ = count;
  interrupted_ = true;
  stop("interrupted");
  if (again) supervisor_.kill_all("interrupted twice");
}

void Coordinator::stop(const std::string& reason) {
  if (ending_) return;
  ending_ = true;
  ended_at_ = base::Clock::now();
  reason_ = reason;
  dispatch_->give_up(reason);  // no more leases; without effect once there is an answer
  supervisor_.drain(reason, *ended_at_);
}

void Coordinator::fire_timed_faults() {
  if (!ready_at_ || ending_) return;
  const base::TimePoint now = base::Clock::now();
  if (settings_.timeout && now >= *ready_at_ + *settings_.timeout) {
    return stop(fmt::format("not finished after {:.3g} s (--timeout)",
                            base::to_seconds(*settings_.timeout)));
  }
  const std::vector<WorkerKey> ready = supervisor_.ready();
  for (std::size_t i = 0; i < settings_.faults.size(); ++i) {
    const FaultSpec& fault = settings_.faults[i];
    if (!fault.worker || timed_fault_done_[i] || now < *ready_at_ + fault.after) continue;
    const std::uint32_t target = is_isolated(settings_.model) ? *fault.worker : 1;
    const auto key = std::find_if(ready.begin(), ready.end(),
                                  [&](const WorkerKey& k) { return k.worker == target; });
    if (key == ready.end()) continue;
    timed_fault_done_[i] = true;
    if (fault.kind == v1::FAULT_THROW) {  // counted by the crash page when it fires
      v1::ToWorker message;
      v1::PlannedFault* planned = message.mutable_inject()->mutable_fault();
      planned->set_index(static_cast<std::uint32_t>(i));
      planned->set_kind(fault.kind);
      planned->set_times(1);
      send(*key, message);
    } else {
      environment_.host.signal(*key, fault.kind == v1::FAULT_SEGV ? SIGSEGV : SIGKILL);
      ++outcome_.fired[i];
    }
  }
}

void Coordinator::begin_when_ready() {
  if (ready_at_ || ending_ || !supervisor_.all_started() || supervisor_.ready().empty()) return;
  ready_at_ = base::Clock::now();
  dispatch_->begin();
}

void Coordinator::end_when_finished() {
  if (ending_ || !dispatch_->finished()) return;
  const base::TimePoint now = base::Clock::now();
  if (dispatch_->answer()) {
    // Every worker still has its memory: the moment to weigh them. After the wall clock's end.
    double pss = 0;
    for (const WorkerKey& key : supervisor_.ready()) {
      pss += environment_.host.pss_bytes(key).value_or(0);
    }
    if (pss > 0) outcome_.repetition.set_pss_bytes(pss);
  }
  stop(dispatch_->answer() ? std::string() : dispatch_->failure());
  ended_at_ = now;
}

// Until nothing is left to do: a send or a launch that fails is itself an event with consequences.
void Coordinator::perform_actions() {
  for (;;) {
    const std::vector<Outgoing> messages = dispatch_->take_outgoing();
    const std::vector<SupervisorAction> actions = supervisor_.take_actions();
    if (messages.empty() && actions.empty()) return;
    for (const Outgoing& outgoing : messages) send(outgoing.to, outgoing.message);
    for (const SupervisorAction& action : actions) {
      if (const auto* starting = std::get_if<LaunchWorker>(&action)) {
        launch(starting->key);
      } else if (const auto* drain = std::get_if<DrainWorker>(&action)) {
        v1::ToWorker message;
        message.mutable_drain();
        send(drain->key, message);
      } else if (const auto* terminate = std::get_if<TerminateWorker>(&action)) {
        environment_.host.signal(terminate->key, SIGTERM);
      } else {
        environment_.host.kill_group(std::get<KillWorker>(action).key);
      }
    }
  }
}

std::string Coordinator::identity(WorkerKey key) const {
  return wire::encode_identity({run_id_, key.worker, key.incarnation});
}

void Coordinator::launch(WorkerKey key) {
  spdlog::debug("launching worker {}.{} for {}", key.worker, key.incarnation,
                to_string(settings_.model));
  const auto failed = [&](const std::string& why) { launch_failed(key, why); };
  int pair[2] = {-1, -1};
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0) {
    return failed(fmt::format("socketpair: {}", std::strerror(errno)));
  }
  WorkerRecord record;
  record.lifeline = base::UniqueFd(pair[0]);
  base::UniqueFd worker_end(pair[1]);
  auto page = wire::CrashPageMapping::create();
  if (!page) return failed(page.error().text);
  record.page = std::move(*page);
  record.token = random_bytes(32);

  v1::Boot boot;
  boot.set_protocol(wire::kProtocol);
  boot.set_run_id(run_id_);
  boot.set_worker(key.worker);
  boot.set_incarnation(key.incarnation);
  boot.set_token(record.token);
  boot.set_run_directory(environment_.run_directory);
  boot.set_socket_name(environment_.socket_name);
  boot.set_model(settings_.model);
  boot.set_processors(settings_.processors_per_worker);
  boot.set_in_flight(std::max(1u, settings_.in_flight / settings_.workers));
  boot.set_program(settings_.program);
  for (const auto& [name, value] : settings_.settings) {
    v1::Setting* setting = boot.add_settings();
    setting->set_name(name);
    setting->set_value(value);
  }
  for (const std::string& input : settings_.inputs) boot.add_inputs(input);
  boot.set_checkpoint_seconds(settings_.checkpoint ? base::to_seconds(*settings_.checkpoint) : -1);
  boot.set_max_attempts(settings_.max_attempts);
  boot.set_max_message_bytes(wire::kMaxMessageBytes);
  boot.set_handshake_seconds(base::to_seconds(kHandshake));
  boot.set_seed(settings_.seed);
  dispatch_->fill_boot(boot);
  if (const auto written = wire::write_boot(record.lifeline.get(), boot); !written) {
    return failed(written.error().text);
  }

  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;  // its end of file stays: told once is enough
  event.data.u64 = (static_cast<std::uint64_t>(key.worker) << 32) | key.incarnation;
  if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, record.lifeline.get(), &event) != 0) {
    return failed(fmt::format("epoll_ctl: {}", std::strerror(errno)));
  }

  LaunchSpec spec;
  spec.key = key;
  spec.executable = settings_.worker_executable;
  spec.lifeline = std::move(worker_end);
  spec.crash_page = record.page.fd();
  workers_[key] = std::move(record);
  if (const auto launched = environment_.host.launch(std::move(spec)); !launched) {
    failed(launched.error().text);
  }
}

void Coordinator::send(WorkerKey key, const v1::ToWorker& message) {
  auto bytes = wire::encode(message);
  if (!bytes) return supervisor_.condemn(key, bytes.error().text);
  ++messages_;
  bytes_ += bytes->size();
  const auto sent = environment_.router.send(identity(key), std::move(*bytes));
  // Unavailable: it is dead or dying, which the host tells with its cause.
  if (!sent && sent.error().code != Code::kUnavailable && supervisor_.is_current(key)) {
    supervisor_.condemn(key, sent.error().text);
  }
}

RunOutcome Coordinator::outcome() {
  const Ledger& ledger = dispatch_->ledger();
  const LedgerCounts& counts = ledger.counts();
  v1::Repetition& repetition = outcome_.repetition;
  const bool complete = dispatch_->answer().has_value();
  if (!complete && reason_.empty()) {
    reason_ = supervisor_.gave_up_reason().empty() ? "every worker is gone"
                                                   : supervisor_.gave_up_reason();
  }
  const base::TimePoint end = ended_at_.value_or(base::Clock::now());
  const double wall = ready_at_ ? base::to_seconds(end - *ready_at_) : 0;
  repetition.set_wall_seconds(wall);
  repetition.set_startup_seconds(base::to_seconds(ready_at_.value_or(end) - started_at_));
  repetition.set_cpu_seconds(worker_cpu_seconds_ + own_cpu_seconds() - coordinator_cpu_before_);
  repetition.set_throughput_per_second(wall > 0 ? static_cast<double>(counts.done) / wall : 0);
  repetition.set_messages(static_cast<double>(messages_));
  repetition.set_bytes(static_cast<double>(bytes_));
  repetition.set_complete(complete);
  if (outcome_.service.count() > 0) {
    repetition.set_service_median_seconds(outcome_.service.percentile(0.5));
  }
  v1::Jobs* jobs = repetition.mutable_jobs();
  jobs->set_total(static_cast<double>(ledger.size()));
  jobs->set_done(static_cast<double>(counts.done));
  jobs->set_failed(static_cast<double>(counts.failed));
  jobs->set_quarantined(static_cast<double>(counts.quarantined));
  jobs->set_retried(static_cast<double>(counts.retried));
  jobs->set_lost_in_flight(static_cast<double>(counts.lost_in_flight));
  jobs->set_results_lost(static_cast<double>(counts.results_lost));
  jobs->set_duplicates(static_cast<double>(counts.duplicates));
  for (const JobNote& note : ledger.notes()) {
    const JobEntry& entry = ledger.at(note.job);
    v1::JobNote* out = jobs->add_notes();
    out->set_job(static_cast<double>(note.job));
    out->set_outcome(entry.state == JobState::kQuarantined ? "quarantined" : "failed");
    out->set_reason(note.reason);
    out->set_blames(entry.blames);
    out->set_failures(entry.failures);
  }
  if (complete) {
    repetition.set_checksum(wire::printable(dispatch_->answer()->checksum(), 100));
    outcome_.answer_text = wire::printable(dispatch_->answer()->text(), 64 * 1024, true);
  }
  outcome_.began = ready_at_.has_value();
  if (!complete) {
    const std::string got =
        fmt::format("{} of {}{} jobs were done after {:.3g} s", counts.done,
                    dispatch_->source_ended() ? "" : "at least ", ledger.size(), wall);
    reason_ = interrupted_ ? got : reason_ + (outcome_.began ? "; " + got : "");
  }
  outcome_.reason = reason_;
  outcome_.interrupted = interrupted_;
  for (std::size_t i = 0; i < outcome_.fired.size(); ++i) {
    outcome_.fired[i] += dispatch_->fired()[i];
  }
  return std::move(outcome_);
}

}  // namespace bulkhead::coordinator
