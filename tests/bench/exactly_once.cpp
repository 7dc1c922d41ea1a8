// exactly-once OPERATIONS SPAWNS PROCESSORS SEED: that many channel operations, then that many
// goroutines, in rounds of random shape, and whether each value and each goroutine came exactly
// once: one half on all processors at all times, the other while one of them is alone by turns.
// Ends with 1 at the first round that does not add up.
#include <fmt/format.h>

#include <atomic>
#include <bulkhead/base/clock.hpp>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <vector>

namespace bulkhead {
namespace {

// Of a bag of values: a lost one and a doubled one would have to look alike.
struct Bag {
  std::uint64_t count = 0;
  std::uint64_t sum = 0;
  void add(std::uint64_t value) {
    ++count;
    value *= 0x9e3779b97f4a7c15ull;
    value ^= value >> 32;
    sum += value * 0xd6e8feb86659fd93ull;
  }
  void add(const Bag& other) {
    count += other.count;
    sum += other.sum;
  }
  bool operator==(const Bag&) const = default;
};

struct Round {
  explicit Round(std::mt19937_64& random)
      : capacity(random() % 3 == 0 ? 0 : std::size_t{1} << random() % 9),
        producers(1 + random() % 8),
        consumers(1 + random() % 8),
        seed(random()) {}
  std::size_t capacity, producers, consumers;
  std::uint64_t seed;
};

// In one way or another, as the goroutine's own dice say.
void send_one(sched::Channel<std::uint64_t>& channel, std::uint64_t value, std::uint64_t dice) {
  if (dice % 8 == 0) {
    sched::select(sched::send(channel, value, [] {}));
  } else if (dice % 8 != 1 || !channel.try_send(value)) {
    channel.send(value);
  }
  if (dice % 61 == 0) sched::yield();
}

Bag produce(sched::Channel<std::uint64_t>& channel, std::uint64_t first, std::uint64_t items) {
  std::minstd_rand dice(static_cast<unsigned>(first + 1));
  Bag sent;
  for (std::uint64_t value = first; value < first + items; ++value) {
    sent.add(value);
    send_one(channel, value, dice());
  }
  return sent;
}

Bag consume(sched::Channel<std::uint64_t>& channel, std::uint64_t seed) {
  std::minstd_rand dice(static_cast<unsigned>(seed | 1));
  Bag received;
  for (bool more = true; more;) {
    std::optional<std::uint64_t> value;
    if (dice() % 8 == 0)
      sched::select(sched::receive(channel, [&](auto got) { value = got; }));
    else
      value = channel.receive();
    more = value.has_value();
    if (more) received.add(*value);
  }
  return received;
}

bool channels_add_up(const Round& round, std::uint64_t items) {
  sched::Channel<std::uint64_t> channel(round.capacity);
  std::vector<Bag> sent(round.producers), received(round.consumers);
  sched::WaitGroup producers, consumers;
  producers.add(static_cast<std::int64_t>(round.producers));
  consumers.add(static_cast<std::int64_t>(round.consumers));
  for (std::size_t i = 0; i < round.consumers; ++i)
    sched::go([&, i] {
      received[i] = consume(channel, round.seed + i);
      consumers.done();
    });
  for (std::size_t i = 0; i < round.producers; ++i)
    sched::go([&, i] {
      sent[i] = produce(channel, i * items, items);
      producers.done();
    });
  producers.wait();
  channel.close();
  consumers.wait();
  Bag in, out;
  for (const Bag& bag : sent) in.add(bag);
  for (const Bag& bag : received) out.add(bag);
  return in == out && in.count == round.producers * items;
}

bool spawns_add_up(std::uint64_t first, std::uint64_t count, std::uint64_t seed) {
  std::vector<std::atomic<std::uint8_t>> ran(count);
  sched::WaitGroup group;
  group.add(static_cast<std::int64_t>(count));
  for (std::uint64_t i = 0; i < count; ++i)
    sched::go([&ran, &group, i, dice = seed ^ ((first + i) * 0x9e3779b97f4a7c15ull)] {
      if (dice >> 60 == 0) sched::yield();
      ran[i].fetch_add(1, std::memory_order_relaxed);
      if (dice >> 60 == 1) sched::sleep_for(std::chrono::microseconds(dice % 16));
      group.done();
    });
  group.wait();
  for (const auto& times : ran)
    if (times.load(std::memory_order_relaxed) != 1) return false;
  return true;
}

// Calls `round(done)`, which answers how many it has done, 0: wrong.
template <class Do>
bool repeat(const char* what, std::uint64_t wanted, const Do& round) {
  const base::TimePoint start = base::Clock::now();
  std::uint64_t told = 0;
  for (std::uint64_t done = 0; done < wanted;) {
    const std::uint64_t more = round(done);
    if (more == 0) {
      fmt::print(stderr, "{}: lost or doubled after {}\n", what, done);
      return false;
    }
    done += more;
    if (10 * done / wanted == told && done < wanted) continue;
    told = 10 * done / wanted;
    fmt::print("{}: {}, {:.0f} s\n", what, done, base::to_seconds(base::Clock::now() - start));
    std::fflush(stdout);
  }
  return true;
}

bool run(std::uint64_t operations, std::uint64_t spawns, std::uint64_t seed) {
  constexpr std::uint64_t kItems = 100'000, kSpawns = 100'000;
  std::mt19937_64 random(seed);
  return repeat("channel operations", operations,
                [&](std::uint64_t) -> std::uint64_t {
                  const Round round(random);
                  return channels_add_up(round, kItems) ? 2 * round.producers * kItems : 0;
                }) &&
         repeat("goroutines", spawns, [&](std::uint64_t done) -> std::uint64_t {
           return spawns_add_up(done, kSpawns, random()) ? kSpawns : 0;
         });
}

}  // namespace
}  // namespace bulkhead

int main(int argc, char** argv) {
  using namespace bulkhead;
  const auto number = [&](int at) { return std::strtoull(argv[at], nullptr, 10); };
  if (argc != 5 || number(3) == 0) {
    fmt::print(stderr, "usage: {} OPERATIONS SPAWNS PROCESSORS SEED\n", argv[0]);
    return 2;
  }
  bool right = true;
  for (const sched::OneAlone one_alone : {sched::OneAlone::kNever, sched::OneAlone::kByTurns}) {
    sched::Scheduler scheduler(
        {.processors = static_cast<unsigned>(number(3)), .one_alone = one_alone});
    scheduler.run([&] { right = right && run(number(1) / 2, number(2) / 2, number(4)); });
  }
  fmt::print("seed {}, {} processors: {}\n", number(4), number(3),
             right ? "each exactly once" : "WRONG");
  return right ? 0 : 1;
}
