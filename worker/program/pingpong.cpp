// pingpong: one task sends a ball, the other sends it back. What a message between tasks costs
// under each model, and nothing else.
#include <fmt/format.h>

#include <bulkhead/program.hpp>
#include <stdexcept>

#include "program/hash.hpp"

namespace bulkhead::program {
namespace {

struct Ball {
  std::uint64_t number = 0;
  std::string load;
  BULKHEAD_FIELDS(number, load)
};

class PingPong {
 public:
  static Description describe() {
    Description description{
        "pingpong",
        "two tasks send each other a ball",
        false,
        {{"rounds", ParameterType::kInteger, "10000", "round trips", 1, 1e9},
         {"size", ParameterType::kSize, "64", "bytes that each ball carries", 0, 1 << 20},
         {"capacity", ParameterType::kInteger, "0", "of each of the two channels", 0, 65'536},
         {"balls", ParameterType::kInteger, "1", "in play at once; at most capacity + 1", 1,
          65'537}}};
    description.unit = "rounds";
    return description;
  }

  explicit PingPong(const Settings& settings)
      : rounds_(static_cast<std::uint64_t>(settings.integer("rounds"))),
        size_(settings.size("size")),
        capacity_(static_cast<std::size_t>(settings.integer("capacity"))),
        balls_(static_cast<std::uint64_t>(settings.integer("balls"))) {
    // Else both could be waiting for the other to take one.
    if (balls_ > capacity_ + 1) {
      throw std::invalid_argument(fmt::format(
          "balls is {} and capacity {}: balls must be at most capacity + 1", balls_, capacity_));
    }
  }

  void build(Net& net) {
    auto& there = net.channel<Ball>("there", capacity_);
    auto& back = net.channel<Ball>("back", capacity_);
    Net::Task ping = net.task("ping");
    ping.runs([this, &net, out = ping.sends(there), in = ping.receives(back)] {
      return play(net, *out, *in);
    });
    Net::Task pong = net.task("pong");
    pong.runs([in = pong.receives(there), out = pong.sends(back)] {
      for (Ball& ball : *in) {
        ball.number += 1;
        out->send(std::move(ball));
      }
    });
  }

  Answer expected() const {
    std::uint64_t sum = 0;
    for (std::uint64_t round = 0; round < rounds_; ++round) sum += 2 * round + 1;
    return answer(sum);
  }

 private:
  Answer play(Net& net, const sched::Sender<Ball>& out, const sched::Receiver<Ball>& in) const {
    std::uint64_t sent = 0;
    std::uint64_t sum = 0;
    for (; sent < balls_ && sent < rounds_; ++sent) out.send({2 * sent, std::string(size_, 'o')});
    for (std::uint64_t round = 0; round < rounds_; ++round) {
      std::optional<Ball> ball = in.receive();
      if (!ball) throw std::runtime_error("pong has stopped");
      if (ball->number != 2 * round + 1 || ball->load.size() != size_)
        throw std::runtime_error(fmt::format("ball {} came in round {}", ball->number, round));
      sum += ball->number;
      if (sent >= rounds_) continue;
      ball->number = 2 * sent++;
      out.send(std::move(*ball));
    }
    out.close();
    net.did(rounds_);
    return answer(sum);
  }

  Answer answer(std::uint64_t sum) const {
    return {hex16(mix(sum) ^ rounds_),
            fmt::format("{} rounds with {} bytes, sum {}", rounds_, size_, sum)};
  }

  const std::uint64_t rounds_;
  const std::size_t size_;
  const std::size_t capacity_;
  const std::uint64_t balls_;
};

BULKHEAD_NETWORK(PingPong);

}  // namespace
}  // namespace bulkhead::program
