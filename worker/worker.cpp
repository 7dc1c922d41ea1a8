// A worker's life: boot by the lifeline, crash page, program, link thread, scheduler.
#include <bulkhead/v1/control.pb.h>
#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <sched.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/network.hpp>
#include <bulkhead/program/synthetic_work.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/wire/codec.hpp>
#include <bulkhead/wire/crash_page.hpp>
#include <bulkhead/wire/packets.hpp>
#include <bulkhead/worker/worker.hpp>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <string_view>
#include <thread>

#include "crash_handler.hpp"
#include "data_link.hpp"
#include "exit_codes.hpp"
#include "explore.hpp"
#include "fork_server.hpp"
#include "isolated_run.hpp"
#include "job_runner.hpp"
#include "job_threads.hpp"
#include "link.hpp"
#include "network_run.hpp"
#include "shared_run.hpp"
#include "transfer.hpp"

namespace bulkhead::worker {
namespace {

constexpr double kBootSeconds = 10;

// What a goroutine's tag means.
using NameOf = std::function<std::string(std::uint64_t)>;

v1::ParameterType to_wire(program::ParameterType type) {
  switch (type) {
    case program::ParameterType::kInteger:
      return v1::PARAMETER_INTEGER;
    case program::ParameterType::kSize:
      return v1::PARAMETER_SIZE;
    case program::ParameterType::kDuration:
      return v1::PARAMETER_DURATION;
    case program::ParameterType::kText:
      return v1::PARAMETER_TEXT;
    case program::ParameterType::kOutput:
      return v1::PARAMETER_OUTPUT;
  }
  return v1::PARAMETER_UNSPECIFIED;
}

int print_json(const google::protobuf::Message& message) {
  google::protobuf::util::JsonPrintOptions options;
  options.add_whitespace = true;
  options.preserve_proto_field_names = true;
  std::string json;
  BULKHEAD_CHECK(google::protobuf::util::MessageToJsonString(message, &json, options).ok());
  std::fputs(json.c_str(), stdout);
  return std::fflush(stdout) == 0 ? 0 : kExitInternal;
}

void describe(const program::Description& from, v1::ProgramDescription* to) {
  to->set_name(from.name);
  to->set_summary(from.summary);
  to->set_digest(program::digest(from, wire::build_id()));
  to->set_takes_input(from.takes_input);
  to->set_wants_calibration(from.wants_calibration);
  for (const auto& parameter : from.parameters) {
    v1::ParameterDescription* out = to->add_parameters();
    out->set_name(parameter.name);
    out->set_type(to_wire(parameter.type));
    out->set_default_value(parameter.default_value);
    out->set_help(parameter.help);
    out->set_minimum(parameter.minimum);
    out->set_maximum(parameter.maximum);
  }
}

// With the defaults of its settings, and an input that nothing opens.
void describe_tasks(const program::NetworkRegistration& network, v1::ProgramDescription* to) {
  to->set_unit(network.description.unit);
  try {
    program::Net net;
    std::vector<std::string> inputs;
    if (network.description.takes_input) inputs.emplace_back(".");
    const auto made = network.make(program::Settings(network.description, {}, inputs));
    made->build(net);
    for (const auto& task : net.tasks()) to->add_tasks(task.name);
    to->set_circle(net.circle());
  } catch (const std::exception& error) {
    std::fprintf(stderr, "bulkhead-worker: the tasks of '%s': %s\n",
                 network.description.name.c_str(), error.what());
  }
}

int describe() {
  v1::WorkerDescription description;
  description.set_protocol(wire::kProtocol);
  description.set_build_id(std::string(wire::build_id()));
  for (const auto& one : program::registry()) describe(one.description, description.add_programs());
  for (const auto& one : program::networks()) {
    v1::ProgramDescription* const network = description.add_networks();
    describe(one.description, network);
    if (one.has_tasks) describe_tasks(one, network);
  }
  return print_json(description);
}

int calibrate() {
  v1::Calibration calibration;
  calibration.set_iterations_per_second(program::calibrate());
  return print_json(calibration);
}

bool is_socket(int fd) {
  struct stat status {};
  return fstat(fd, &status) == 0 && S_ISSOCK(status.st_mode);
}

bool is_isolated(v1::Model model) {
  return model == v1::MODEL_PROCESSES || model == v1::MODEL_CLUSTER;
}

// A program that can't even be made: said like a source that threw, then the link goes on until the
// coordinator drains.
class BrokenRun final : public LinkHandler {
 public:
  void on_message(v1::ToWorker&&) override {}
  bool quiescent() override { return true; }
};

program::Settings settings_of(const v1::Boot& boot, const program::Description& description) {
  std::map<std::string, std::string> values;
  for (const auto& setting : boot.settings()) values[setting.name()] = setting.value();
  return {description,
          values,
          {boot.inputs().begin(), boot.inputs().end()},
          boot.iterations_per_second()};
}

// What `make` makes; or nullptr, and why not.
template <class Make>
auto make_program(Make make, std::string& error) -> decltype(make()) {
  try {
    return make();
  } catch (const std::exception& caught) {
    error = caught.what();
  } catch (...) {
    error = "an exception that is not a std::exception";
  }
  return nullptr;
}

std::unique_ptr<NetworkProgram> make_network(const program::NetworkRegistration& registration,
                                             const v1::Boot& boot) {
  auto made = std::make_unique<NetworkProgram>();
  made->network = registration.make(settings_of(boot, registration.description));
  made->network->build(made->net);
  return made;
}

// Jobs that only one another could wake: told on stderr, blamed on the first of them. Goroutines of
// ours that wait for the coordinator are in an ExternalWait; and while a job or task itself waits
// for another process, the others may be waiting for it.
void end_by_deadlock(wire::CrashPage& page, const std::vector<sched::TaskInfo>& tasks,
                     const NameOf& name_of) {
  if (std::any_of(tasks.begin(), tasks.end(), [](const sched::TaskInfo& task) {
        return task.outside && wire::is_real_job(task.tag);
      })) {
    return;
  }
  const auto stuck = [&](auto&& wanted) {
    return std::find_if(tasks.begin(), tasks.end(), [&](const sched::TaskInfo& task) {
      return !task.outside && wanted(task.tag);
    });
  };
  auto blamed = stuck(wire::is_real_job);
  if (blamed == tasks.end()) blamed = stuck([](sched::Tag tag) { return tag != sched::kNoTag; });
  if (blamed == tasks.end()) return;
  std::fputs(sched::describe_deadlock(tasks, name_of).c_str(), stderr);
  page.exit_job.store(blamed->tag, std::memory_order_relaxed);  // read after our death
  _exit(wire::kDeadlockExit);
}

// Those that jobs have started and that still wait, when all jobs have ended.
std::vector<sched::TaskInfo> left_behind(std::vector<sched::TaskInfo> tasks) {
  std::erase_if(tasks, [](const sched::TaskInfo& task) {
    const bool waits = task.state == sched::Task::kParked || task.state == sched::Task::kSleeping;
    return !waits || task.outside || task.tag == sched::kNoTag;
  });
  return tasks;
}

// `more`: what this Run wants besides. `name_of` says what a tag means.
template <class Run, class Program, class... More>
[[noreturn]] void serve_program(const v1::Boot& boot, Program& program, wire::CrashPage* page,
                                Link& link, const NameOf& name_of, More&&... more) {
  SlotObserver observer(page);
  sched::Options options;
  options.processors = boot.processors();
  options.observer = &observer;
  const Run* running = nullptr;
  options.on_deadlock = [&, page](const auto& tasks) {
    if (running->can_deadlock()) end_by_deadlock(*page, tasks, name_of);
  };
  options.on_hog = [&](const sched::Hog& hog) {
    std::fputs(sched::describe(hog, name_of).c_str(), stderr);
  };
  options.on_circle = [](const std::string& circles) { std::fputs(circles.c_str(), stderr); };
  sched::Scheduler scheduler(options);
  Run run(boot, program, page, link, std::forward<More>(more)...);
  running = &run;
  std::thread([&] {
    sched::Enter enter(scheduler);
    link.run(
        run, [&] { return sched::describe(scheduler.tasks(), name_of); },
        [&]() -> std::string {
          if (!run.all_ended()) return "";  // ended early
          return sched::describe_leaks(left_behind(scheduler.tasks()), name_of);
        });
    // ends the process, never returns
  }).detach();
  scheduler.run([&] { run.main(); });
  BULKHEAD_CHECK(false, "the main goroutine of a worker ended");
  std::abort();
}

// The kernel schedules these threads: as many cores as the other models use, no more.
void use_cores(unsigned count) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  if (sched_getaffinity(0, sizeof usable, &usable) != 0) return;  // more than 1,024 CPUs: all then
  for (unsigned cpu = 0; cpu < CPU_SETSIZE && CPU_COUNT(&usable) > static_cast<int>(count); ++cpu) {
    const unsigned last = CPU_SETSIZE - 1 - cpu;
    CPU_CLR(last, &usable);
  }
  sched_setaffinity(0, sizeof usable, &usable);
}

// What a thread waits for is known to the kernel alone.
std::string threads_that_run(const wire::CrashPage& page, const NameOf& name_of) {
  std::string text;
  for (const wire::CrashSlot& slot : page.slot) {
    const std::uint64_t job = slot.job.load(std::memory_order_relaxed);
    if (job != wire::kNoJob) text += "  a thread runs " + name_of(job) + '\n';
  }
  return text.empty() ? "  no thread runs a job\n" : text;
}

template <class Run, class Program, class... More>
[[noreturn]] void serve_threads(const v1::Boot& boot, Program& program, wire::CrashPage* page,
                                Link& link, const NameOf& name_of, More&&... more) {
  use_cores(boot.processors());
  JobThreads threads(page, boot.threads());
  Run run(boot, program, page, link, std::forward<More>(more)...);
  std::thread([&] {
    link.run(run, [&, page] {
      return threads_that_run(*page, name_of);
    });  // ends the process, never returns
  }).detach();
  threads.run([&] { run.main(); });
  BULKHEAD_CHECK(false, "the main task of a worker ended");
  std::abort();
}

[[noreturn]] void serve_broken(Link& link, const std::string& error) {
  link.send_pseudo_failed(false, error);
  BrokenRun run;
  link.run(run, [] { return std::string("  its program could not be made\n"); });
}

[[noreturn]] void serve_jobs(const v1::Boot& boot, const program::Registration& registration,
                             wire::CrashPage* page, Link& link) {
  std::string error;
  const auto program = make_program(
      [&] { return registration.make(settings_of(boot, registration.description)); }, error);
  if (!program) serve_broken(link, error);
  if (is_isolated(boot.model())) {
    auto data = DataLink::join(boot);
    if (!data) link.leave(kExitHandshake, data.error().text);
    link.set_data_plane();
    serve_program<IsolatedRun>(boot, *program, page, link, wire::job_name, **data);
  }
  const Transfer transfer = transfer_of(boot.transfer());
  const auto crossing = transfer == Transfer::kMove ? nullptr : transferring(*program, transfer);
  const program::ErasedJobs& jobs = crossing ? *crossing : *program;
  if (boot.model() == v1::MODEL_THREADS)
    serve_threads<SharedRun>(boot, jobs, page, link, wire::job_name);
  serve_program<SharedRun>(boot, jobs, page, link, wire::job_name);
}

[[noreturn]] void serve_network(const v1::Boot& boot,
                                const program::NetworkRegistration& registration,
                                wire::CrashPage* page, Link& link) {
  std::string error;
  const auto program = make_program([&] { return make_network(registration, boot); }, error);
  if (!program) serve_broken(link, error);
  auto listener = NetworkRun::listen(boot);
  if (!listener) link.leave(kExitHandshake, listener.error().text);
  const NameOf name_of = [&](std::uint64_t tag) { return program->name_of(tag); };
  if (boot.model() == v1::MODEL_THREADS)
    serve_threads<NetworkRun>(boot, *program, page, link, name_of, std::move(*listener));
  serve_program<NetworkRun>(boot, *program, page, link, name_of, std::move(*listener));
}

int serve() {
  base::UniqueFd lifeline(wire::kLifelineFd);
  base::UniqueFd page_fd(wire::kCrashPageFd);
  for (const int fd : {wire::kLifelineFd, wire::kCrashPageFd}) fcntl(fd, F_SETFD, FD_CLOEXEC);
  signal(SIGPIPE, SIG_IGN);

  auto boot = wire::read_boot(lifeline.get(), kBootSeconds);
  if (!boot) {
    // End of file before boot: the coordinator died between launching us and speaking to us.
    if (boot.error().code == Code::kUnavailable) return kExitCoordinatorGone;
    std::fprintf(stderr, "bulkhead-worker: %s\n", boot.error().text.c_str());
    return kExitHandshake;
  }
  auto mapping = wire::CrashPageMapping::attach(page_fd.get());
  if (!mapping) {
    std::fprintf(stderr, "bulkhead-worker: crash page: %s\n", mapping.error().text.c_str());
    return kExitHandshake;
  }
  page_fd.reset();
  wire::CrashPage* page = mapping->page();
  const bool threads = boot->model() == v1::MODEL_THREADS;
  // As many processors again may be lent.
  const std::size_t slots = std::min<std::size_t>(2 * boot->processors(), wire::kMaxSlots);
  page->slots.store(static_cast<std::uint32_t>(threads ? wire::kMaxSlots : slots),
                    std::memory_order_relaxed);
  install_crash_handler(page);
  prepare_thread_for_crashes();

  const program::Registration* const jobs = program::find_program(boot->program());
  const program::NetworkRegistration* const network = program::find_network(boot->program());
  const bool known = jobs != nullptr || (network != nullptr && network->has_tasks);
  if (!known || boot->processors() == 0 || boot->processors() > wire::kMaxSlots ||
      boot->in_flight() == 0) {
    std::fprintf(stderr, "bulkhead-worker: can't run program '%s' with %u processors\n",
                 boot->program().c_str(), boot->processors());
    return kExitHandshake;
  }
  const program::Description& description =
      jobs != nullptr ? jobs->description : network->description;
  Link link(*boot, program::digest(description, wire::build_id()), std::move(lifeline));
  if (jobs == nullptr) serve_network(*boot, *network, page, link);
  serve_jobs(*boot, *jobs, page, link);
}

}  // namespace

int worker_main(int argc, char** argv) {
  if (argc == 2 && std::string_view(argv[1]) == "--describe") return describe();
  if (argc == 2 && std::string_view(argv[1]) == "--calibrate") return calibrate();
  if (argc == 3 && std::string_view(argv[1]) == "--explore") return explore_main(argv[2]);
  if (argc == 1 && is_socket(wire::kLifelineFd)) return serve();
  if (argc == 2 && std::string_view(argv[1]) == wire::kForkServerArgument &&
      is_socket(wire::kLifelineFd)) {
    if (const auto code = serve_forks()) return *code;
    std::memset(argv[1], 0, std::strlen(argv[1]));  // what ps shows: a worker now
    return serve();
  }
  std::fprintf(stderr,
               "%s: a worker is started by the coordinator: try 'bulkhead run --worker %s …'; "
               "--describe lists its programs, --calibrate measures its "
               "synthetic work\n",
               argv[0], argv[0]);
  return kExitUsage;
}

}  // namespace bulkhead::worker
