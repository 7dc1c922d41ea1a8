// One method for all: the asker sends messages of a size that come back (a trip, each timed), then
// a stream of them one way, as fast as they are taken, until an answer to the last says that all
// have come. Both sides copy each message in and out, except where a row says otherwise. The first
// byte tells the answerer what a message is; nothing else is agreed on, so the asker alone decides
// how many there are.
//
// Processor time is that of both parties. What reading the clock takes is measured and taken off.
#include "bench/crossing.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <condition_variable>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <thread>

#include "crossing/port.hpp"

namespace bulkhead::bench {
namespace {

constexpr std::array<std::size_t, 3> kSizes{64, 1024, 65'536};
constexpr std::int64_t kWarmUpNs = 20'000'000;
constexpr std::int64_t kTripsNs = 150'000'000;
constexpr std::int64_t kStreamNs = 150'000'000;
constexpr std::size_t kMostTrips = 200'000;
constexpr int kBetweenLooks = 64;  // at the clock, in a stream

enum Mark : char { kTrip = 't', kUsage = 'u', kStream = 's', kEnd = 'e', kQuit = 'q' };

struct Usage {
  double cpu_ns = 0;
  double switches = 0;  // voluntary
};

Usage usage_of_this_process() {
  rusage usage{};
  ::getrusage(RUSAGE_SELF, &usage);
  timespec cpu{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &cpu);
  return {static_cast<double>(cpu.tv_sec) * 1e9 + static_cast<double>(cpu.tv_nsec),
          static_cast<double>(usage.ru_nvcsw)};
}

// What both parties see, be they two processes or one.
struct Board {
  Usage of_answerer;
  bool one_process = false;
};

// --- the two parties
// ------------------------------------------------------------------------------

template <class End>
void answer(End& end, std::size_t size, Board& board) {
  std::string message(size, '\0');
  for (;;) {
    end.receive(message);
    switch (message[0]) {
      case kUsage:
        board.of_answerer = usage_of_this_process();
        [[fallthrough]];
      case kTrip:
      case kEnd:
        end.send(message);
        end.flush();
        break;
      case kQuit:
        return;
      default:
        break;
    }
  }
}

double clock_cost_ns() {
  std::vector<std::int64_t> costs(1001);
  for (std::int64_t& cost : costs) {
    const std::int64_t begin = base::monotonic_ns();
    cost = base::monotonic_ns() - begin;
  }
  std::nth_element(costs.begin(), costs.begin() + 500, costs.end());
  return static_cast<double>(costs[500]);
}

template <class End>
class Asker {
 public:
  Asker(End& end, const char* name, std::size_t size, Board& board)
      : end_(end), name_(name), message_(size, 'm'), board_(board) {}

  void run(std::vector<Figure>& figures) {
    trips(kWarmUpNs);
    const Usage before = both();
    std::vector<double> times = trips(kTripsNs);
    const Usage after = both();
    add_trips(figures, times, before, after);
    stream(figures);
    mark(kQuit);
    end_.send(message_);
    end_.flush();
  }

 private:
  void mark(Mark what) { message_[0] = what; }
  void trip() {
    end_.send(message_);
    end_.flush();
    end_.receive(message_);
  }
  Usage both() {
    mark(kUsage);
    trip();
    Usage sum = usage_of_this_process();
    if (board_.one_process) return sum;
    sum.cpu_ns += board_.of_answerer.cpu_ns;
    sum.switches += board_.of_answerer.switches;
    return sum;
  }

  std::vector<double> trips(std::int64_t for_ns) {
    std::vector<double> times;
    times.reserve(kMostTrips);
    mark(kTrip);
    const double clock = clock_cost_ns();
    const std::int64_t begin = base::monotonic_ns();
    std::int64_t last = begin;
    while (times.size() < kMostTrips && last - begin < for_ns) {
      trip();
      const std::int64_t now = base::monotonic_ns();
      times.push_back(std::max(static_cast<double>(now - last) - clock, 0.0));
      last = now;
    }
    return times;
  }

  void add(std::vector<Figure>& figures, const char* what, double value, const char* unit) {
    figures.push_back(
        {fmt::format("{}.{}", name_, what), fmt::format("size={}", message_.size()), value, unit});
  }
  void add_trips(std::vector<Figure>& figures, std::vector<double>& times, const Usage& before,
                 const Usage& after) {
    std::sort(times.begin(), times.end());
    const auto count = static_cast<double>(times.size());
    const auto at = [&](double fraction) {
      return times[std::min(times.size() - 1, static_cast<std::size_t>(fraction * count))];
    };
    add(figures, "trip", at(0.5), "ns/trip");
    add(figures, "trip_p90", at(0.9), "ns/trip");
    add(figures, "trip_p99", at(0.99), "ns/trip");
    // None beyond what so many can tell.
    if (count >= 10'000) add(figures, "trip_p999", at(0.999), "ns/trip");
    add(figures, "trip_cpu", (after.cpu_ns - before.cpu_ns) / count, "ns/trip");
    add(figures, "trip_switches", (after.switches - before.switches) / count, "1/trip");
  }

  void stream(std::vector<Figure>& figures) {
    double sent = 0;
    const auto send_for = [&](std::int64_t for_ns) {
      mark(kStream);
      const std::int64_t begin = base::monotonic_ns();
      do {
        for (int i = 0; i < kBetweenLooks; ++i) end_.send(message_);
        sent += kBetweenLooks;
      } while (base::monotonic_ns() - begin < for_ns);
      mark(kEnd);
      trip();
    };
    send_for(kWarmUpNs);
    sent = 0;
    const Usage before = both();
    const double ns = time_ns([&] { send_for(kStreamNs); });
    const Usage after = both();
    add(figures, "one_way", ns / sent, "ns/message");
    add(figures, "one_way_cpu", (after.cpu_ns - before.cpu_ns) / sent, "ns/message");
    add(figures, "one_way_switches", (after.switches - before.switches) / sent, "1/message");
  }

  End& end_;
  const char* const name_;
  std::string message_;
  Board& board_;
};

// --- where they run
// -------------------------------------------------------------------------------

int nth_cpu(int n) {
  cpu_set_t usable;
  CPU_ZERO(&usable);
  sched_getaffinity(0, sizeof usable, &usable);
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &usable) && n-- == 0) return cpu;
  BULKHEAD_CHECK(false, "there are not so many CPUs");
}

// The calling thread and those that it starts.
void keep_to(int cpu) {
  cpu_set_t one;
  CPU_ZERO(&one);
  CPU_SET(cpu, &one);
  sched_setaffinity(0, sizeof one, &one);
}

struct Place {
  explicit Place(bool apart) : cpus{nth_cpu(0), nth_cpu(apart ? 1 : 0)} {}
  std::array<int, 2> cpus;
};

void in_goroutine(unsigned processors, const std::function<void()>& body) {
  sched::Options options;
  options.processors = processors;
  sched::Scheduler(options).run(body);
}

// Both bodies, each in a process of its own; the first in this one.
void in_two_processes(bool apart, const std::function<void()>& asks,
                      const std::function<void()>& answers) {
  const Place place(apart);
  const pid_t child = ::fork();
  BULKHEAD_CHECK(child >= 0, "can't fork");
  if (child == 0) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    keep_to(place.cpus[1]);
    answers();
    ::_exit(0);
  }
  keep_to(place.cpus[0]);
  asks();
  ::waitpid(child, nullptr, 0);
  cpu_set_t both;
  CPU_ZERO(&both);
  for (const int cpu : place.cpus) CPU_SET(cpu, &both);
  sched_setaffinity(0, sizeof both, &both);
}

Board& shared_board() {
  void* const memory =
      ::mmap(nullptr, sizeof(Board), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  BULKHEAD_CHECK(memory != MAP_FAILED, "no shared page");
  return *new (memory) Board;
}

// --- floors
// ---------------------------------------------------------------------------------------

struct DescriptorEnd {
  int in;
  int out;
  void send(const std::string& message) const {
    for (std::size_t done = 0; done < message.size();) {
      const ssize_t now = ::write(out, message.data() + done, message.size() - done);
      BULKHEAD_CHECK(now > 0, "write failed");
      done += static_cast<std::size_t>(now);
    }
  }
  void flush() const {}
  void receive(std::string& message) const {
    for (std::size_t done = 0; done < message.size();) {
      const ssize_t now = ::read(in, message.data() + done, message.size() - done);
      BULKHEAD_CHECK(now > 0, "read failed");
      done += static_cast<std::size_t>(now);
    }
  }
};

std::vector<Figure> over_descriptors(const char* name, bool apart, bool sockets) {
  std::vector<Figure> figures;
  for (const std::size_t size : kSizes) {
    int there[2];
    int back[2];
    if (sockets) {
      BULKHEAD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM, 0, there) == 0, "no socket");
      back[0] = there[0];
      back[1] = there[1];
    } else {
      BULKHEAD_CHECK(::pipe(there) == 0 && ::pipe(back) == 0, "no pipe");
    }
    DescriptorEnd asks{.in = back[0], .out = sockets ? there[0] : there[1]};
    DescriptorEnd answers{.in = sockets ? there[1] : there[0], .out = back[1]};
    Board& board = shared_board();
    in_two_processes(
        apart, [&] { Asker(asks, name, size, board).run(figures); },
        [&] { answer(answers, size, board); });
    for (const int fd : {there[0], there[1]}) ::close(fd);
    if (!sockets)
      for (const int fd : {back[0], back[1]}) ::close(fd);
  }
  return figures;
}

std::vector<Figure> raw_pipe(const char* name, bool apart) {
  return over_descriptors(name, apart, false);
}
std::vector<Figure> raw_unix(const char* name, bool apart) {
  return over_descriptors(name, apart, true);
}

// A slot for one message in each direction, at which both look without end. On one CPU they give it
// up between two looks, or they would wait for the kernel to take it from them.
struct LineEnd {
  struct Slots {
    alignas(64) std::array<std::atomic<std::uint32_t>, 2> sent{};
    std::array<std::array<char, 65'536>, 2> bytes{};
  };
  Slots& slots;
  std::size_t mine;
  bool yields;
  void wait_for(std::size_t slot, std::uint32_t state) const {
    // acquire and release pair with each other, for the bytes.
    while (slots.sent[slot].load(std::memory_order_acquire) != state)
      if (yields) ::sched_yield();
  }
  void send(const std::string& message) const {
    wait_for(mine, 0);
    std::memcpy(slots.bytes[mine].data(), message.data(), message.size());
    slots.sent[mine].store(1, std::memory_order_release);
  }
  void flush() const {}
  void receive(std::string& message) const {
    wait_for(1 - mine, 1);
    std::memcpy(message.data(), slots.bytes[1 - mine].data(), message.size());
    slots.sent[1 - mine].store(0, std::memory_order_release);
  }
};

std::vector<Figure> raw_line(const char* name, bool apart) {
  std::vector<Figure> figures;
  for (const std::size_t size : kSizes) {
    void* const memory = ::mmap(nullptr, sizeof(LineEnd::Slots), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BULKHEAD_CHECK(memory != MAP_FAILED, "no shared memory");
    auto& slots = *new (memory) LineEnd::Slots;
    Board& board = shared_board();
    LineEnd asks{.slots = slots, .mine = 0, .yields = !apart};
    LineEnd answers{.slots = slots, .mine = 1, .yields = !apart};
    in_two_processes(
        apart, [&] { Asker(asks, name, size, board).run(figures); },
        [&] { answer(answers, size, board); });
    ::munmap(memory, sizeof(LineEnd::Slots));
  }
  return figures;
}

// --- in one process
// -------------------------------------------------------------------------------

struct CallEnd {
  std::string slot;
  [[gnu::noinline]] void send(const std::string& message) {
    std::memcpy(slot.data(), message.data(), message.size());
  }
  void flush() const {}
  [[gnu::noinline]] void receive(std::string& message) const {
    std::memcpy(message.data(), slot.data(), slot.size());
  }
};

std::vector<Figure> call(const char* name, bool) {
  std::vector<Figure> figures;
  for (const std::size_t size : kSizes) {
    CallEnd end{std::string(size, 'c')};
    Board board{.of_answerer = {}, .one_process = true};
    Asker(end, name, size, board).run(figures);
  }
  return figures;
}

struct ChannelEnd {
  sched::Channel<std::string>& in;
  sched::Channel<std::string>& out;
  void send(const std::string& message) const { out.send(message); }
  void flush() const {}
  void receive(std::string& message) const { message = std::move(*in.receive()); }
};

std::vector<Figure> channel(const char* name, bool apart) {
  std::vector<Figure> figures;
  if (!apart) keep_to(nth_cpu(0));
  for (const std::size_t size : kSizes) {
    in_goroutine(apart ? 2 : 1, [&] {
      sched::Channel<std::string> there(128);
      sched::Channel<std::string> back(128);
      Board board{.of_answerer = {}, .one_process = true};
      sched::Channel<int> ended;
      sched::go([&] {
        ChannelEnd end{.in = there, .out = back};
        answer(end, size, board);
        ended.send(0);
      });
      ChannelEnd end{.in = back, .out = there};
      Asker(end, name, size, board).run(figures);
      ended.receive();
    });
  }
  return figures;
}

// Between two threads, as one would write it.
class Queue {
 public:
  void push(std::string message) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return messages_.size() < 1024; });
    messages_.push_back(std::move(message));
    changed_.notify_one();
  }
  std::string pop() {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return !messages_.empty(); });
    std::string message = std::move(messages_.front());
    messages_.pop_front();
    changed_.notify_one();
    return message;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::string> messages_;
};

struct QueueEnd {
  Queue& in;
  Queue& out;
  void send(const std::string& message) const { out.push(message); }
  void flush() const {}
  void receive(std::string& message) const { message = in.pop(); }
};

std::vector<Figure> threads(const char* name, bool apart) {
  std::vector<Figure> figures;
  const Place place(apart);
  for (const std::size_t size : kSizes) {
    Queue there;
    Queue back;
    Board board{.of_answerer = {}, .one_process = true};
    std::thread thread([&] {
      keep_to(place.cpus[1]);
      QueueEnd end{.in = there, .out = back};
      answer(end, size, board);
    });
    keep_to(place.cpus[0]);
    QueueEnd end{.in = back, .out = there};
    Asker(end, name, size, board).run(figures);
    thread.join();
  }
  return figures;
}

// --- the data plane
// -------------------------------------------------------------------------------

struct PortEnd {
  crossing::Port port;
  void send(const std::string& message) {
    BULKHEAD_CHECK(port.send(message) == transport::Outcome::kDone, "the peer is lost");
  }
  void flush() { BULKHEAD_CHECK(port.flush() == transport::Outcome::kDone, "the peer is lost"); }
  void receive(std::string& message) {
    std::string_view bytes;
    BULKHEAD_CHECK(port.receive(bytes) == transport::Outcome::kDone, "the peer is lost");
    std::memcpy(message.data(), bytes.data(), bytes.size());
  }
};

class Meeting {
 public:
  explicit Meeting(transport::Kind kind) : kind_(kind) {
    std::string directory = std::filesystem::temp_directory_path() / "bulkhead-bench-XXXXXX";
    BULKHEAD_CHECK(::mkdtemp(directory.data()) != nullptr, "no directory in {}", directory);
    directory_ = directory;
    auto listener = transport::Listener::listen(kind, directory_, "bench", {});
    BULKHEAD_CHECK(listener.has_value(), "{}", listener.error().text);
    listener_ = std::move(*listener);
  }
  ~Meeting() { std::filesystem::remove_all(directory_); }
  Meeting(const Meeting&) = delete;
  Meeting& operator=(const Meeting&) = delete;

  PortEnd connect() const {
    auto connection = transport::connect(kind_, directory_, "bench", {});
    BULKHEAD_CHECK(connection.has_value(), "{}", connection.error().text);
    return {crossing::Port(std::move(*connection))};
  }
  PortEnd accept() {
    for (;;) {
      auto connection = listener_->accept();
      BULKHEAD_CHECK(connection.has_value(), "{}", connection.error().text);
      if (*connection) return {crossing::Port(std::move(*connection))};
      std::this_thread::yield();
    }
  }

 private:
  const transport::Kind kind_;
  std::string directory_;
  std::unique_ptr<transport::Listener> listener_;
};

std::vector<Figure> between_processes(const char* name, bool apart, transport::Kind kind) {
  std::vector<Figure> figures;
  for (const std::size_t size : kSizes) {
    Meeting meeting(kind);
    Board& board = shared_board();
    in_two_processes(
        apart,
        [&] {
          in_goroutine(1, [&] {
            PortEnd end = meeting.accept();
            Asker(end, name, size, board).run(figures);
          });
        },
        [&] {
          in_goroutine(1, [&] {
            PortEnd end = meeting.connect();
            answer(end, size, board);
          });
        });
  }
  return figures;
}

std::vector<Figure> unix_transport(const char* name, bool apart) {
  return between_processes(name, apart, transport::Kind::kUnix);
}
std::vector<Figure> shm_transport(const char* name, bool apart) {
  return between_processes(name, apart, transport::Kind::kShm);
}

std::vector<Figure> inproc_transport(const char* name, bool apart) {
  std::vector<Figure> figures;
  if (!apart) keep_to(nth_cpu(0));
  for (const std::size_t size : kSizes) {
    Meeting meeting(transport::Kind::kInproc);
    Board board{.of_answerer = {}, .one_process = true};
    in_goroutine(apart ? 2 : 1, [&] {
      PortEnd mine = meeting.connect();
      PortEnd theirs = meeting.accept();
      sched::Channel<int> ended;
      sched::go([&] {
        answer(theirs, size, board);
        ended.send(0);
      });
      Asker(mine, name, size, board).run(figures);
      ended.receive();
    });
  }
  return figures;
}

}  // namespace

const std::vector<CrossingRow>& crossing_rows() {
  static const std::vector<CrossingRow> kRows{{"call", call},         {"channel", channel},
                                              {"threads", threads},   {"inproc", inproc_transport},
                                              {"shm", shm_transport}, {"unix", unix_transport},
                                              {"raw-line", raw_line}, {"raw-pipe", raw_pipe},
                                              {"raw-unix", raw_unix}};
  return kRows;
}

}  // namespace bulkhead::bench
