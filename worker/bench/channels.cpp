// Rows about handing values over: without a buffer, with one, one of four.
#include <atomic>
#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <bulkhead/sched/wait_group.hpp>

#if __has_include(<bulkhead/sched/select.hpp>)
#include <array>
#include <bulkhead/sched/select.hpp>
#include <optional>
#endif

#include "bench/rows.hpp"

namespace bulkhead::bench {
namespace {

constexpr std::size_t kCapacity = 128;

// To an echo and back, over two channels without a buffer.
std::vector<Figure> ping_pong() {
  constexpr int kRoundTrips = 1'000'000;
  sched::Channel<int> there;
  sched::Channel<int> back;
  const double ns = time_ns([&] {
    sched::go([&] {
      while (const auto value = there.receive()) back.send(*value);
      back.close();
    });
    for (int i = 0; i < kRoundTrips; ++i) {
      there.send(i);
      keep(back.receive());
    }
    there.close();
  });
  keep(back.receive());  // until the echo is done with both channels
  return {{"chan_pingpong", "", ns / kRoundTrips, "ns/roundtrip"}};
}

std::uint64_t sum_of(sched::Channel<int>& channel) {
  std::uint64_t sum = 0;
  while (const auto value = channel.receive()) sum += static_cast<std::uint64_t>(*value);
  return sum;
}

// One sender, one receiver, a buffer between them.
std::vector<Figure> one_to_one() {
  constexpr int kItems = 5'000'000;
  sched::Channel<int> channel(kCapacity);
  const double ns = time_ns([&] {
    sched::go([&] {
      for (int i = 0; i < kItems; ++i) channel.send(i);
      channel.close();
    });
    keep(sum_of(channel));
  });
  return {{"chan_1p1c", "cap=128", ns / kItems, "ns/item"}};
}

// Four senders and four receivers share one buffer.
std::vector<Figure> four_to_four() {
  constexpr int kPairs = 4;
  constexpr int kItems = 4'000'000;
  sched::Channel<int> channel(kCapacity);
  sched::WaitGroup senders;
  sched::WaitGroup receivers;
  std::atomic<std::uint64_t> sum{0};
  const double ns = time_ns([&] {
    senders.add(kPairs);
    receivers.add(kPairs);
    for (int pair = 0; pair < kPairs; ++pair) {
      sched::go([&] {
        for (int i = 0; i < kItems / kPairs; ++i) channel.send(i);
        senders.done();
      });
      sched::go([&] {
        sum += sum_of(channel);
        receivers.done();
      });
    }
    senders.wait();
    channel.close();
    receivers.wait();
  });
  keep(sum);
  return {{"chan_4p4c", "cap=128", ns / kItems, "ns/item"}};
}

#if __has_include(<bulkhead/sched/select.hpp>)
// Four senders, each on a channel of its own without a buffer; one receiver takes what is there.
std::vector<Figure> select_of_four() {
  constexpr int kSelects = 1'000'000;
  constexpr int kChannels = 4;
  std::array<sched::Channel<int>, kChannels> channels;
  const double ns = time_ns([&] {
    for (sched::Channel<int>& channel : channels) {
      sched::go([&channel] {
        for (int i = 0; i < kSelects / kChannels; ++i) channel.send(i);
      });
    }
    std::uint64_t sum = 0;
    const auto add = [&](std::optional<int> value) { sum += static_cast<std::uint64_t>(*value); };
    for (int i = 0; i < kSelects; ++i) {
      sched::select(sched::receive(channels[0], add), sched::receive(channels[1], add),
                    sched::receive(channels[2], add), sched::receive(channels[3], add));
    }
    keep(sum);
  });
  return {{"select4", "", ns / kSelects, "ns/select"}};
}
#endif

}  // namespace

const std::vector<Row>& channel_rows() {
  static const std::vector<Row> kRows {
    {"chan_pingpong", ping_pong}, {"chan_1p1c", one_to_one}, {"chan_4p4c", four_to_four},
#if __has_include(<bulkhead/sched/select.hpp>)
        {"select4", select_of_four},
#endif
  };
  return kRows;
}

}  // namespace bulkhead::bench
