// What Go's test/ken/chan asserts, in our own words: values pass between direct sends and receives
// and the arms of large selects, in every pairing, over channels of any capacity, and each channel
// keeps its order.
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <deque>
#include <random>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

constexpr int kKenValues = 76;

// A channel with one that sends 0, 1, … and one that sees that none is missing.
struct Line {
  explicit Line(std::size_t capacity) : channel(capacity) {}
  Channel<int>* to() { return sent < kKenValues ? &channel : nullptr; }
  Channel<int>* from() { return received < kKenValues ? &channel : nullptr; }
  void take(std::optional<int> value) {
    EXPECT_EQ(value, received);
    ++received;
  }

  Channel<int> channel;
  int sent = 0;      // the sender's
  int received = 0;  // the receiver's
};
using Four = std::array<Line*, 4>;

class GoKen : public EverywhereTest {
 protected:
  // A few yields, another number each time; the seed is fixed. (Threads mix by themselves.)
  auto pauses(unsigned most) {
    return [random = std::minstd_rand(++seed_), most = threads() ? 1 : most]() mutable {
      for (auto left = random() % most; left > 0; --left) yield();
    };
  }
  // So many lines between the bodies that are started; then each has passed all its values.
  void run_lines(std::size_t count, std::size_t capacity,
                 const std::function<void(std::vector<Line*>)>& start) {
    std::deque<Line> lines;
    std::vector<Line*> pointers;
    for (std::size_t i = 0; i < count; ++i) pointers.push_back(&lines.emplace_back(capacity));
    run([&] { start(pointers); });
    for (const Line& line : lines) {
      EXPECT_EQ(line.sent, kKenValues);
      EXPECT_EQ(line.received, kKenValues);
    }
  }

  void send_on(Line& line) {
    go([&line, pause = pauses(10)]() mutable {
      while (line.sent < kKenValues) {
        pause();
        line.channel.send(line.sent);
        ++line.sent;
      }
    });
  }
  void receive_on(Line& line) {
    go([&line, pause = pauses(10)]() mutable {
      while (line.received < kKenValues) {
        pause();
        line.take(line.channel.receive());
      }
    });
  }
  // One goroutine for all of them, and one select; a null pointer: no such arm.
  void pass_on(Four in, Four out) {
    go([in, out, pause = pauses(5)]() mutable {
      int left = 0;
      for (std::size_t i = 0; i < in.size(); ++i) left += (in[i] != nullptr) + (out[i] != nullptr);
      const auto from = [&](std::size_t i) {
        return receive(in[i] == nullptr ? nullptr : in[i]->from(),
                       [&, i](std::optional<int> value) {
                         in[i]->take(value);
                         if (in[i]->from() == nullptr) --left;
                       });
      };
      const auto to = [&](std::size_t i) {
        return send(out[i] == nullptr ? nullptr : out[i]->to(),
                    out[i] == nullptr ? 0 : out[i]->sent, [&, i] {
                      ++out[i]->sent;
                      if (out[i]->to() == nullptr) --left;
                    });
      };
      while (left > 0) {
        pause();
        select(from(0), from(1), from(2), from(3), to(0), to(1), to(2), to(3));
      }
    });
  }

 private:
  unsigned seed_ = 0;
};

Four four(const std::vector<Line*>& lines, std::size_t first) {
  return {lines[first], lines[first + 1], lines[first + 2], lines[first + 3]};
}
constexpr Four kNone{};
constexpr std::array<std::size_t, 4> kCapacities{0, 1, 10, 100};

TEST_P(GoKen, DirectToDirect) {
  for (const std::size_t capacity : kCapacities)
    run_lines(4, capacity, [&](const std::vector<Line*>& lines) {
      for (Line* line : lines) {
        send_on(*line);
        receive_on(*line);
      }
    });
}

TEST_P(GoKen, DirectToSelect) {
  for (const std::size_t capacity : kCapacities)
    run_lines(4, capacity, [&](const std::vector<Line*>& lines) {
      for (Line* line : lines) send_on(*line);
      pass_on(four(lines, 0), kNone);
    });
}

TEST_P(GoKen, SelectToDirect) {
  for (const std::size_t capacity : kCapacities)
    run_lines(4, capacity, [&](const std::vector<Line*>& lines) {
      for (Line* line : lines) receive_on(*line);
      pass_on(kNone, four(lines, 0));
    });
}

TEST_P(GoKen, SelectToSelect) {
  for (const std::size_t capacity : kCapacities)
    run_lines(4, capacity, [&](const std::vector<Line*>& lines) {
      pass_on(kNone, four(lines, 0));
      pass_on(four(lines, 0), kNone);
    });
}

TEST_P(GoKen, SelectsBothWays) {
  for (const std::size_t capacity : kCapacities)
    run_lines(8, capacity, [&](const std::vector<Line*>& lines) {
      pass_on(four(lines, 4), four(lines, 0));
      pass_on(four(lines, 0), four(lines, 4));
    });
}

TEST_P(GoKen, EveryPairing) {
  for (const std::size_t capacity : kCapacities)
    run_lines(12, capacity, [&](const std::vector<Line*>& lines) {
      for (std::size_t i = 4; i < 8; ++i) send_on(*lines[i]);
      for (std::size_t i = 8; i < 12; ++i) receive_on(*lines[i]);
      pass_on(four(lines, 4), four(lines, 0));
      pass_on(four(lines, 0), four(lines, 8));
    });
}

BULKHEAD_EVERYWHERE(GoKen);

}  // namespace
}  // namespace bulkhead::sched
