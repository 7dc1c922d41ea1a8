// bank: tellers move money between accounts, all at once. However they take turns, each account
// ends with what the transfers, one after another, would have left in it.
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <bulkhead/program.hpp>
#include <memory>
#include <mutex>
#include <numeric>
#include <random>
#include <vector>

#include "program/one_of.hpp"

namespace bulkhead::program {
namespace {

constexpr std::int64_t kInitialBalance = 100;

struct Transfer {
  std::size_t from;
  std::size_t to;
  std::int64_t amount;
};

class Bank {
 public:
  static Description describe() {
    return {"bank",
            "tellers move money between accounts, all at once",
            false,
            {{"accounts", ParameterType::kInteger, "3", "how many", 2, 10'000},
             {"tellers", ParameterType::kInteger, "3", "how many work at once", 1, 1000},
             {"transfers", ParameterType::kInteger, "3", "how many each teller makes", 1, 1e6},
             {"locking", ParameterType::kText, "ordered",
              "ordered: of two accounts the one with the lower number is locked first; opposite: "
              "the one that gives; none: neither is",
              0, 0}}};
  }

  explicit Bank(const Settings& settings)
      : tellers_(static_cast<std::size_t>(settings.integer("tellers"))),
        transfers_(static_cast<std::size_t>(settings.integer("transfers"))),
        locking_(one_of(settings, "locking", {"ordered", "opposite", "none"})),
        balances_(static_cast<std::size_t>(settings.integer("accounts")), kInitialBalance),
        locks_(std::make_unique<sched::Mutex[]>(balances_.size())) {}

  Answer run() {
    sched::WaitGroup group;
    for (std::size_t teller = 0; teller < tellers_; ++teller) {
      group.add();
      sched::go({.name = fmt::format("teller {}", teller)}, [this, &group, teller] {
        for (const Transfer& transfer : orders_of(teller)) move(teller, transfer);
        group.done();
      });
    }
    group.wait();
    return answer(balances_);
  }

  Answer expected() const {
    std::vector<std::int64_t> balances(balances_.size(), kInitialBalance);
    for (std::size_t teller = 0; teller < tellers_; ++teller) {
      for (const Transfer& transfer : orders_of(teller)) {
        balances[transfer.from] -= transfer.amount;
        balances[transfer.to] += transfer.amount;
      }
    }
    return answer(balances);
  }

 private:
  // The same in every run.
  std::vector<Transfer> orders_of(std::size_t teller) const {
    std::minstd_rand random(static_cast<std::uint_fast32_t>(teller + 1));
    std::vector<Transfer> orders;
    for (std::size_t i = 0; i < transfers_; ++i) {
      const std::size_t from = random() % balances_.size();
      const std::size_t to = (from + 1 + random() % (balances_.size() - 1)) % balances_.size();
      orders.push_back({from, to, static_cast<std::int64_t>(1 + random() % 50)});
    }
    return orders;
  }

  void move(std::size_t teller, const Transfer& transfer) {
    if (locking_ == "none") return move_unlocked(teller, transfer);
    std::size_t first = transfer.from;
    std::size_t second = transfer.to;
    if (locking_ == "ordered" && first > second) std::swap(first, second);
    const std::lock_guard one(locks_[first]);
    sched::note("teller {} has locked account {}", teller, first);
    const std::lock_guard other(locks_[second]);
    sched::note("teller {} has locked account {} too", teller, second);
    move_unlocked(teller, transfer);
  }

  void move_unlocked(std::size_t teller, const Transfer& transfer) {
    add(teller, transfer.from, -transfer.amount);
    add(teller, transfer.to, transfer.amount);
  }

  void add(std::size_t teller, std::size_t account, std::int64_t amount) {
    const std::int64_t found = balances_[account];
    sched::note("teller {} finds {} in account {}", teller, found, account);
    sched::checkpoint();  // here another could come
    balances_[account] = found + amount;
    sched::note("teller {} leaves {} in account {}", teller, found + amount, account);
  }

  static Answer answer(const std::vector<std::int64_t>& balances) {
    const auto total = std::accumulate(balances.begin(), balances.end(), std::int64_t{0});
    const std::string text =
        fmt::format("total {} in accounts of {}", total, fmt::join(balances, ", "));
    return {fmt::format("{}", fmt::join(balances, ",")), text};
  }

  const std::size_t tellers_;
  const std::size_t transfers_;
  const std::string locking_;
  std::vector<std::int64_t> balances_;
  const std::unique_ptr<sched::Mutex[]> locks_;  // of each account
};

BULKHEAD_NETWORK(Bank);

}  // namespace
}  // namespace bulkhead::program
