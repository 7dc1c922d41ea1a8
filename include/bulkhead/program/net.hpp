// A network's tasks and channels, as it declares them: what it is made of, not who runs it where.
//
//   void build(program::Net& net) {
//     auto& lines = net.channel<std::string>("lines", 16);  // room for 16; without: none
//     auto read = net.task("read");
//     read.runs([this, &net, out = read.sends(lines)] {
//       while (auto line = next_line()) out->send(std::move(*line));
//     });
//     auto count = net.task("count");
//     count.runs([in = count.receives(lines)] {
//       std::uint64_t lines = 0;
//       for (const std::string& line : *in) ++lines;
//       return program::Answer{std::to_string(lines), std::to_string(lines)};
//     });
//   }
//
// Each channel has one task that sends and one that receives; goroutines of these may share an end.
// The ends mean something while the tasks run, not in build(). When a task returns, the ends by
// which it sends are closed, unless it has closed them; exactly one task returns an Answer. A task
// must wait for the goroutines that it starts before it returns.
//
// Whether two tasks share memory is nothing that they can see, but for sched::PeerLost, by which
// those that survive a crash are ended if they let it pass.
#pragma once

#include <atomic>
#include <bulkhead/program/jobs.hpp>
#include <bulkhead/program/net_channel.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead::program {

// A task's end of a channel: *end is a sched::Sender or Receiver once the tasks run.
template <class T>
class SendEnd {
 public:
  explicit SendEnd(const NetChannel<T>& channel) : channel_(&channel) {}
  const sched::Sender<T>& operator*() const { return channel_->out(); }
  const sched::Sender<T>* operator->() const { return &channel_->out(); }

 private:
  const NetChannel<T>* channel_;
};

template <class T>
class ReceiveEnd {
 public:
  explicit ReceiveEnd(const NetChannel<T>& channel) : channel_(&channel) {}
  const sched::Receiver<T>& operator*() const { return channel_->in(); }
  const sched::Receiver<T>* operator->() const { return &channel_->in(); }

 private:
  const NetChannel<T>* channel_;
};

class Net {
 public:
  using Body = std::function<std::optional<Answer>()>;
  struct TaskRecord {
    std::string name;
    Body body;
    bool answers = false;
    std::vector<ErasedChannel*> sends{};
    std::vector<ErasedChannel*> receives{};
  };

  // What build() says of one task. A view.
  class Task {
   public:
    Task(Net& net, std::size_t place) : net_(&net), place_(place) {}
    template <class T>
    SendEnd<T> sends(NetChannel<T>& channel) {
      net_->add_sender(channel, place_);
      return SendEnd<T>(channel);
    }
    template <class T>
    ReceiveEnd<T> receives(NetChannel<T>& channel) {
      net_->add_receiver(channel, place_);
      return ReceiveEnd<T>(channel);
    }
    template <class F>
    void runs(F body) {
      constexpr bool kAnswers = std::is_same_v<std::invoke_result_t<F>, Answer>;
      // Shared, because std::function wants to copy.
      auto owned = std::make_shared<F>(std::move(body));
      net_->set_body(place_, kAnswers, [owned]() -> std::optional<Answer> {
        if constexpr (kAnswers) {
          return (*owned)();
        } else {
          (*owned)();
          return std::nullopt;
        }
      });
    }

   private:
    Net* net_;
    std::size_t place_;
  };

  Net() = default;
  Net(const Net&) = delete;
  Net& operator=(const Net&) = delete;

  // The name is for people; unlike all others. It lives as long as the net.
  template <class T>
  NetChannel<T>& channel(std::string name, std::size_t capacity = 0) {
    auto owned = std::make_unique<NetChannel<T>>(std::move(name), capacity);
    NetChannel<T>& made = *owned;
    channels_.push_back(std::move(owned));
    return made;
  }
  Task task(std::string name);
  // Of what Description::unit names, for the throughput of the run. Thread-safe.
  void did(std::uint64_t units) { done_.fetch_add(units, std::memory_order_relaxed); }

  // For whoever runs it, after build():

  // Throws std::logic_error: a name twice, an end that nobody has, no answer or two, no body.
  void check() const;
  const std::vector<TaskRecord>& tasks() const { return tasks_; }
  const std::vector<std::unique_ptr<ErasedChannel>>& channels() const { return channels_; }
  // The tasks so that each comes behind those that send to it; empty where they wait for one
  // another in a circle, which circle() tells.
  std::vector<std::size_t> order() const;
  std::string circle() const;
  // What was done since it was asked last.
  std::uint64_t take_done() { return done_.exchange(0, std::memory_order_relaxed); }
  // Runs one task to its end, and closes what it leaves open. Whatever the task throws leaves.
  std::optional<Answer> run_task(std::size_t place) const;

 private:
  void add_sender(ErasedChannel& channel, std::size_t task);
  void add_receiver(ErasedChannel& channel, std::size_t task);
  void set_body(std::size_t task, bool answers, Body body);

  std::vector<TaskRecord> tasks_;
  std::vector<std::unique_ptr<ErasedChannel>> channels_;
  std::atomic<std::uint64_t> done_{0};
};

// All its tasks as goroutines of this memory, from a goroutine; the answer when all have returned.
Answer run_in_memory(Net& net);

}  // namespace bulkhead::program
