// The ways that a message can take.
#include "bench/crossing.hpp"

#include <sched.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/net_channel.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>
#include <thread>

#include "bench/asking.hpp"
#include "bench/places.hpp"
#include "crossing/pipe.hpp"
#include "crossing/port.hpp"

namespace bulkhead::bench {
namespace {

constexpr std::size_t kLargest = 1u << 20;

// How many messages a queue holds: at most so many, and 16 MiB.
std::size_t depth(std::size_t most, std::size_t size) {
  return std::min(most, (std::size_t{16} << 20) / size);
}

// --- floors: what the machine gives ---

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

std::vector<Figure> over_descriptors(const Crossing& asked, bool sockets) {
  std::vector<Figure> figures;
  for (const std::size_t size : asked.sizes) {
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
        asked.apart, [&] { Asker(asks, asked.name, size, board).run(figures); },
        [&] { answer(answers, size, board); });
    for (const int fd : {there[0], there[1]}) ::close(fd);
    if (!sockets)
      for (const int fd : {back[0], back[1]}) ::close(fd);
  }
  return figures;
}

std::vector<Figure> raw_pipe(const Crossing& asked) { return over_descriptors(asked, false); }
std::vector<Figure> raw_unix(const Crossing& asked) { return over_descriptors(asked, true); }

// A slot for one message in each direction, at which both look without end. On one CPU they give it
// up between two looks, or they would wait for the kernel to take it from them.
struct LineEnd {
  struct Slots {
    alignas(64) std::array<std::atomic<std::uint32_t>, 2> sent{};
    std::array<std::array<char, kLargest>, 2> bytes{};
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

std::vector<Figure> raw_line(const Crossing& asked) {
  std::vector<Figure> figures;
  for (const std::size_t size : asked.sizes) {
    void* const memory = ::mmap(nullptr, sizeof(LineEnd::Slots), PROT_READ | PROT_WRITE,
                                MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    BULKHEAD_CHECK(memory != MAP_FAILED, "no shared memory");
    auto& slots = *new (memory) LineEnd::Slots;
    Board& board = shared_board();
    LineEnd asks{.slots = slots, .mine = 0, .yields = !asked.apart};
    LineEnd answers{.slots = slots, .mine = 1, .yields = !asked.apart};
    in_two_processes(
        asked.apart, [&] { Asker(asks, asked.name, size, board).run(figures); },
        [&] { answer(answers, size, board); });
    ::munmap(memory, sizeof(LineEnd::Slots));
  }
  return figures;
}

// --- in one process ---

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

std::vector<Figure> call(const Crossing& asked) {
  std::vector<Figure> figures;
  for (const std::size_t size : asked.sizes) {
    CallEnd end{std::string(size, 'c')};
    Board board{.of_answerer = {}, .one_process = true};
    Asker(end, asked.name, size, board).run(figures);
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

std::vector<Figure> channel(const Crossing& asked) {
  std::vector<Figure> figures;
  if (!asked.apart) keep_to(Place(false).cpus[0]);
  for (const std::size_t size : asked.sizes) {
    in_goroutine(asked.apart ? 2 : 1, [&] {
      sched::Channel<std::string> there(depth(128, size));
      sched::Channel<std::string> back(depth(128, size));
      Board board{.of_answerer = {}, .one_process = true};
      sched::Channel<int> ended;
      sched::go([&] {
        ChannelEnd end{.in = there, .out = back};
        answer(end, size, board);
        ended.send(0);
      });
      ChannelEnd end{.in = back, .out = there};
      Asker(end, asked.name, size, board).run(figures);
      ended.receive();
    });
  }
  return figures;
}

// Between two threads, as one would write it.
class Queue {
 public:
  explicit Queue(std::size_t most) : most_(most) {}
  void push(std::string message) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] { return messages_.size() < most_; });
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
  const std::size_t most_;
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

std::vector<Figure> threads(const Crossing& asked) {
  std::vector<Figure> figures;
  const Place place(asked.apart);
  for (const std::size_t size : asked.sizes) {
    Queue there(depth(1024, size));
    Queue back(depth(1024, size));
    Board board{.of_answerer = {}, .one_process = true};
    std::thread thread([&] {
      keep_to(place.cpus[1]);
      QueueEnd end{.in = there, .out = back};
      answer(end, size, board);
    });
    keep_to(place.cpus[0]);
    QueueEnd end{.in = back, .out = there};
    Asker(end, asked.name, size, board).run(figures);
    thread.join();
  }
  return figures;
}

// --- the data plane ---

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

std::vector<Figure> between_processes(const Crossing& asked, transport::Kind kind) {
  std::vector<Figure> figures;
  for (const std::size_t size : asked.sizes) {
    Meeting meeting(kind);
    Board& board = shared_board();
    BULKHEAD_CHECK(transport::end_threads(), "a connection is left");  // we fork
    in_two_processes(
        asked.apart,
        [&] {
          in_goroutine(1, [&] {
            PortEnd end = meeting.accept();
            Asker(end, asked.name, size, board).run(figures);
          });
        },
        [&] {
          in_goroutine(1, [&] {
            PortEnd end = meeting.connect();
            answer(end, size, board);
          });
          transport::end_threads();  // and what it sent last has left
        });
  }
  return figures;
}

std::vector<Figure> unix_transport(const Crossing& asked) {
  return between_processes(asked, transport::Kind::kUnix);
}
std::vector<Figure> shm_transport(const Crossing& asked) {
  return between_processes(asked, transport::Kind::kShm);
}

std::vector<Figure> zmq_ipc_transport(const Crossing& asked) {
  return between_processes(asked, transport::Kind::kZmqIpc);
}

// --- channels between workers ---

// A channel each way, as a network's tasks have them.
class FarChannels {
 public:
  FarChannels(std::size_t capacity, bool asks)
      : there_("there", capacity), back_("back", capacity), asks_(asks) {}
  // The connections of the two, in that order.
  void join(PortEnd there, PortEnd back) {
    send(asks_ ? there_ : back_, std::move(asks_ ? there : back));
    receive(asks_ ? back_ : there_, std::move(asks_ ? back : there));
  }
  void send(const std::string& message) const { (asks_ ? there_ : back_).out().send(message); }
  void flush() const {}
  void receive(std::string& message) const {
    message = std::move(*(asks_ ? back_ : there_).in().receive());
  }

 private:
  using Channel = program::NetChannel<std::string>;
  static void send(Channel& channel, PortEnd end) {
    channel.send_into(std::make_shared<crossing::PipeSender>(std::move(end.port), channel.name(),
                                                             channel.capacity(), 2 * kLargest));
  }
  static void receive(Channel& channel, PortEnd end) {
    channel.receive_from(std::make_shared<crossing::PipeReceiver>(
        std::move(end.port), channel.name(), channel.capacity()));
  }

  Channel there_;
  Channel back_;
  const bool asks_;
};

std::vector<Figure> between_workers(const Crossing& asked, transport::Kind kind,
                                    std::size_t capacity) {
  std::vector<Figure> figures;
  for (const std::size_t size : asked.sizes) {
    Meeting meeting(kind);
    Board& board = shared_board();
    BULKHEAD_CHECK(transport::end_threads(), "a connection is left");  // we fork
    in_two_processes(
        asked.apart,
        [&] {
          in_goroutine(1, [&] {
            FarChannels end(capacity, true);
            std::array<std::optional<PortEnd>, 2> ends;
            std::string which(1, '\0');
            for (int i = 0; i < 2; ++i) {
              PortEnd port = meeting.accept();
              port.receive(which);
              ends.at(which[0] == 'b' ? 1 : 0) = std::move(port);
            }
            end.join(std::move(*ends[0]), std::move(*ends[1]));
            Asker(end, asked.name, size, board).run(figures);
          });
        },
        [&] {
          in_goroutine(1, [&] {
            FarChannels end(capacity, false);
            const auto connect = [&](const char* which) {
              PortEnd port = meeting.connect();
              port.send(which);
              port.flush();
              return port;
            };
            PortEnd there = connect("t");
            end.join(std::move(there), connect("b"));
            answer(end, size, board);
          });
          transport::end_threads();  // and what it sent last has left
        });
  }
  return figures;
}

// Room for as many as a local channel has in its row.
std::vector<Figure> channel_over_shm(const Crossing& asked) {
  return between_workers(asked, transport::Kind::kShm, 128);
}
std::vector<Figure> channel_over_unix(const Crossing& asked) {
  return between_workers(asked, transport::Kind::kUnix, 128);
}
std::vector<Figure> channel_over_zmq_ipc(const Crossing& asked) {
  return between_workers(asked, transport::Kind::kZmqIpc, 128);
}
std::vector<Figure> rendezvous_over_shm(const Crossing& asked) {
  return between_workers(asked, transport::Kind::kShm, 0);
}

std::vector<Figure> inproc_transport(const Crossing& asked) {
  std::vector<Figure> figures;
  if (!asked.apart) keep_to(Place(false).cpus[0]);
  for (const std::size_t size : asked.sizes) {
    Meeting meeting(transport::Kind::kInproc);
    Board board{.of_answerer = {}, .one_process = true};
    in_goroutine(asked.apart ? 2 : 1, [&] {
      PortEnd mine = meeting.connect();
      PortEnd theirs = meeting.accept();
      sched::Channel<int> ended;
      sched::go([&] {
        answer(theirs, size, board);
        ended.send(0);
      });
      Asker(mine, asked.name, size, board).run(figures);
      ended.receive();
    });
  }
  return figures;
}

}  // namespace

std::vector<std::size_t> crossing_sizes(bool all) {
  if (all) return {8, 64, 1024, 65'536, kLargest};
  return {64, 1024, 65'536};
}

const std::vector<CrossingRow>& crossing_rows() {
  static const std::vector<CrossingRow> kRows{{"call", call},
                                              {"channel", channel},
                                              {"threads", threads},
                                              {"inproc", inproc_transport},
                                              {"shm", shm_transport},
                                              {"unix", unix_transport},
                                              {"zmq-ipc", zmq_ipc_transport},
                                              {"channel-shm", channel_over_shm},
                                              {"channel-unix", channel_over_unix},
                                              {"channel-zmq-ipc", channel_over_zmq_ipc},
                                              {"rendezvous-shm", rendezvous_over_shm},
                                              {"raw-line", raw_line},
                                              {"raw-pipe", raw_pipe},
                                              {"raw-unix", raw_unix}};
  return kRows;
}

}  // namespace bulkhead::bench
