// dining-philosophers: between two neighbours at a round table lies one fork, and to eat takes both
// beside the plate. Who always takes the left one first may wait for ever, together with all
// others.
#include <fmt/format.h>

#include <bulkhead/program.hpp>
#include <memory>
#include <mutex>

#include "program/one_of.hpp"

namespace bulkhead::program {
namespace {

class DiningPhilosophers {
 public:
  static Description describe() {
    return {"dining-philosophers",
            "neighbours at a round table share forks, and each needs two to eat",
            false,
            {{"philosophers", ParameterType::kInteger, "3", "how many sit there", 2, 1000},
             {"rounds", ParameterType::kInteger, "2", "how often each eats", 1, 1e6},
             {"order", ParameterType::kText, "ordered",
              "ordered: everybody takes the fork with the lower number first; naive: the left one",
              0, 0}}};
  }

  explicit DiningPhilosophers(const Settings& settings)
      : philosophers_(static_cast<std::size_t>(settings.integer("philosophers"))),
        rounds_(static_cast<std::uint64_t>(settings.integer("rounds"))),
        naive_(one_of(settings, "order", {"ordered", "naive"}) == "naive"),
        forks_(std::make_unique<sched::Mutex[]>(philosophers_)) {}

  Answer run() {
    sched::Channel<std::uint64_t> meals;
    sched::WaitGroup group;
    for (std::size_t seat = 0; seat < philosophers_; ++seat) {
      group.add();
      sched::go({.name = fmt::format("philosopher {}", seat)}, [&, seat] {
        meals.send(dine(seat));
        group.done();
      });
    }
    std::uint64_t eaten = 0;
    for (std::size_t seat = 0; seat < philosophers_; ++seat) eaten += *meals.receive();
    group.wait();
    return answer(eaten);
  }

  Answer expected() const { return answer(philosophers_ * rounds_); }

 private:
  std::uint64_t dine(std::size_t seat) {
    std::size_t first = seat;  // at the left
    std::size_t second = (seat + 1) % philosophers_;
    if (!naive_ && first > second) std::swap(first, second);
    std::uint64_t eaten = 0;
    for (std::uint64_t round = 0; round < rounds_; ++round) {
      const std::lock_guard one(forks_[first]);
      sched::note("philosopher {} has fork {}", seat, first);
      const std::lock_guard other(forks_[second]);
      sched::note("philosopher {} has fork {} too, and eats", seat, second);
      ++eaten;
    }
    return eaten;
  }

  static Answer answer(std::uint64_t eaten) {
    return {std::to_string(eaten), fmt::format("meals eaten: {}", eaten)};
  }

  const std::size_t philosophers_;
  const std::uint64_t rounds_;
  const bool naive_;
  const std::unique_ptr<sched::Mutex[]> forks_;  // one at the left of each seat
};

BULKHEAD_NETWORK(DiningPhilosophers);

}  // namespace
}  // namespace bulkhead::program
