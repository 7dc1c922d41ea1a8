#include <fmt/format.h>

#include <algorithm>
#include <bulkhead/program/net.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <set>
#include <stdexcept>

namespace bulkhead::program {
namespace {

void need(bool right, const std::string& text) {
  if (!right) throw std::logic_error("the network: " + text);
}

}  // namespace

Net::Task Net::task(std::string name) {
  tasks_.push_back({std::move(name), {}});
  return {*this, tasks_.size() - 1};
}

void Net::add_sender(ErasedChannel& channel, std::size_t task) {
  need(channel.sender() < 0,
       fmt::format("two tasks send on channel '{}'; give each its own", channel.name()));
  channel.set_sender(task);
  tasks_[task].sends.push_back(&channel);
}

void Net::add_receiver(ErasedChannel& channel, std::size_t task) {
  need(channel.receiver() < 0,
       fmt::format("two tasks receive from channel '{}'; give each its own", channel.name()));
  channel.set_receiver(task);
  tasks_[task].receives.push_back(&channel);
}

void Net::set_body(std::size_t task, bool answers, Body body) {
  need(!tasks_[task].body, fmt::format("task '{}' has two bodies", tasks_[task].name));
  tasks_[task].body = std::move(body);
  tasks_[task].answers = answers;
}

void Net::check() const {
  std::set<std::string> names;
  for (const TaskRecord& task : tasks_) {
    need(!task.name.empty(), "a task has no name");
    need(names.insert(task.name).second, fmt::format("two tasks are called '{}'", task.name));
    need(static_cast<bool>(task.body), fmt::format("task '{}' has no body", task.name));
  }
  names.clear();
  for (const auto& channel : channels_) {
    need(!channel->name().empty(), "a channel has no name");
    need(names.insert(channel->name()).second,
         fmt::format("two channels are called '{}'", channel->name()));
    need(channel->sender() >= 0, fmt::format("no task sends on channel '{}'", channel->name()));
    need(channel->receiver() >= 0,
         fmt::format("no task receives from channel '{}'", channel->name()));
  }
  const auto answering = std::count_if(tasks_.begin(), tasks_.end(),
                                       [](const TaskRecord& task) { return task.answers; });
  need(answering == 1, fmt::format("{} tasks return an answer; one must", answering));
}

std::vector<std::size_t> Net::order() const {
  std::vector<std::size_t> order;
  std::vector<bool> placed(tasks_.size(), false);
  const auto ready = [&](std::size_t task) {
    return !placed[task] &&
           std::all_of(tasks_[task].receives.begin(), tasks_[task].receives.end(),
                       [&](const ErasedChannel* channel) {
                         return placed[static_cast<std::size_t>(channel->sender())];
                       });
  };
  for (bool more = true; more;) {
    more = false;
    for (std::size_t task = 0; task < tasks_.size(); ++task) {
      if (!ready(task)) continue;
      placed[task] = more = true;
      order.push_back(task);
    }
  }
  if (order.size() != tasks_.size()) order.clear();
  return order;
}

std::string Net::circle() const {
  if (!order().empty() || tasks_.empty()) return "";
  // Those that can be placed are in no circle; of the others each waits for another one of them.
  std::set<std::size_t> left;
  for (std::size_t task = 0; task < tasks_.size(); ++task) left.insert(task);
  const auto waits_for = [&](std::size_t task) -> const ErasedChannel* {
    for (const ErasedChannel* channel : tasks_[task].receives) {
      if (left.contains(static_cast<std::size_t>(channel->sender()))) return channel;
    }
    return nullptr;
  };
  for (bool more = true; more;) {
    more = false;
    for (const std::size_t task : std::set<std::size_t>(left)) {
      if (waits_for(task) == nullptr) more = left.erase(task) > 0;
    }
  }
  std::vector<std::size_t> walked;
  std::size_t task = *left.begin();
  while (std::find(walked.begin(), walked.end(), task) == walked.end()) {
    walked.push_back(task);
    task = static_cast<std::size_t>(waits_for(task)->sender());
  }
  walked.erase(walked.begin(), std::find(walked.begin(), walked.end(), task));
  std::string text;
  for (const std::size_t member : walked) {
    const ErasedChannel& channel = *waits_for(member);
    text +=
        fmt::format("{}'{}' waits for what '{}' sends", text.empty() ? "" : ", ",
                    tasks_[member].name, tasks_[static_cast<std::size_t>(channel.sender())].name);
  }
  return text;
}

std::optional<Answer> Net::run_task(std::size_t place) const {
  const TaskRecord& task = tasks_[place];
  std::optional<Answer> answer = task.body();
  for (ErasedChannel* const channel : task.sends) channel->sender_ended();
  for (ErasedChannel* const channel : task.receives) channel->receiver_ended();
  return answer;
}

Answer run_in_memory(Net& net) {
  for (const auto& channel : net.channels()) channel->join_in_memory(Transfer::kMove);
  sched::WaitGroup group;
  std::optional<Answer> answer;
  for (std::size_t place = 0; place < net.tasks().size(); ++place) {
    group.add();
    sched::go({.name = net.tasks()[place].name}, [&, place] {
      if (auto given = net.run_task(place)) answer = std::move(given);
      group.done();
    });
  }
  group.wait();
  return std::move(*answer);
}

}  // namespace bulkhead::program
