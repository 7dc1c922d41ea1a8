// One method for all: the asker sends messages of a size that come back (a trip, each timed), then
// a stream of them one way, as fast as they are taken, until an answer to the last says that all
// have come. Both sides copy each message in and out, except where a row says otherwise. The first
// byte tells the answerer what a message is; nothing else is agreed on, so the asker alone decides
// how many there are.
//
// Processor time is that of both parties. What reading the clock takes is measured and taken off.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

#include "bench/rows.hpp"

namespace bulkhead::bench {

inline constexpr std::int64_t kWarmUpNs = 20'000'000;
inline constexpr std::int64_t kTripsNs = 150'000'000;
inline constexpr std::int64_t kStreamNs = 150'000'000;
inline constexpr std::size_t kMostTrips = 200'000;
inline constexpr int kBetweenLooks = 64;  // at the clock, in a stream

enum Mark : char { kTrip = 't', kUsage = 'u', kStream = 's', kEnd = 'e', kQuit = 'q' };

struct Usage {
  double cpu_ns = 0;
  double switches = 0;  // voluntary
};

Usage usage_of_this_process();

// What both parties see, be they two processes or one.
struct Board {
  Usage of_answerer;
  bool one_process = false;
};

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

// What two looks at the clock lie apart.
double clock_cost_ns();

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

}  // namespace bulkhead::bench
