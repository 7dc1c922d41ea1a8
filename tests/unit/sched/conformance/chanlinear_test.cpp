// What Go's test/chanlinear asserts, without a clock: what it costs a select to leave the queue of
// a channel does not grow with the queue.
#include <sys/mman.h>
#include <unistd.h>

#include <bulkhead/sched/select.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <deque>
#include <new>

#include "tests/unit/sched/everywhere.hpp"

namespace bulkhead::sched {
namespace {

using GoChanlinear = EverywhereTest;

// So many wait on one channel, and each is woken through one of its own, in the order in which they
// came and against it.
TEST_P(GoChanlinear, ManySelectsComeAndGoOnOneChannel) {
  const std::size_t count = threads() ? 50 : kSanitized ? 500 : 5000;
  constexpr int kMessages = 4;
  run([&] {
    Channel<bool> shared;
    std::deque<Channel<bool>> own(count);
    WaitGroup group;
    group.add(static_cast<std::int64_t>(count));
    for (Channel<bool>& mine : own)
      go([&] {
        for (int i = 0; i < kMessages; ++i)
          select(receive(shared, [](auto) { ADD_FAILURE() << "nobody sends there"; }),
                 receive(mine, [](auto) {}));
        group.done();
      });
    for (int i = 0; i < kMessages; ++i) {
      if (i % 2 == 0)
        for (auto one = own.begin(); one != own.end(); ++one) one->send(true);
      else
        for (auto one = own.rbegin(); one != own.rend(); ++one) one->send(true);
    }
    group.wait();
    EXPECT_FALSE(shared.try_send(true));
  });
}

// Each waiter of a queue on a page of its own; a page that must not be touched is taken away.
class ManyWaiters {
 public:
  explicit ManyWaiters(std::size_t count)
      : bytes_(static_cast<std::size_t>(::sysconf(_SC_PAGESIZE))),
        count_(count),
        memory_(static_cast<std::byte*>(::mmap(nullptr, count * bytes_, PROT_READ | PROT_WRITE,
                                               MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))) {
    EXPECT_NE(memory_, MAP_FAILED);
    for (std::size_t i = 0; i < count; ++i) new (memory_ + i * bytes_) Waiter;
  }
  ~ManyWaiters() { ::munmap(memory_, count_ * bytes_); }
  ManyWaiters(const ManyWaiters&) = delete;
  ManyWaiters& operator=(const ManyWaiters&) = delete;

  Waiter& operator[](std::size_t i) {
    return *std::launder(reinterpret_cast<Waiter*>(memory_ + i * bytes_));
  }
  void forbid_all() { protect(0, count_, PROT_NONE); }
  void allow(std::size_t i) { protect(i, 1, PROT_READ | PROT_WRITE); }

 private:
  void protect(std::size_t first, std::size_t pages, int how) {
    EXPECT_EQ(::mprotect(memory_ + first * bytes_, pages * bytes_, how), 0);
  }

  const std::size_t bytes_, count_;
  std::byte* const memory_;
};

TEST(GoChanlinearQueue, WhoeverComesOrLeavesTouchesHisNeighboursOnly) {
  constexpr std::size_t kCount = 12, kLast = kCount - 1;
  ManyWaiters waiters(kCount);
  WaiterList list;
  for (std::size_t i = 0; i < kLast; ++i) list.push_back(waiters[i]);
  const auto only = [&](std::initializer_list<std::size_t> touched) {
    waiters.forbid_all();
    for (const std::size_t i : touched) waiters.allow(i);
  };
  only({4, 5, 6});
  list.remove(waiters[5]);
  only({4, 6, 7});
  list.remove(waiters[6]);
  only({0, kLast - 1, kLast});
  list.push_back(waiters[kLast]);
  only({0, 1, kLast});
  EXPECT_EQ(list.pop_front(), &waiters[0]);
  only({1, kLast - 1, kLast});
  list.remove(waiters[kLast]);
}

BULKHEAD_EVERYWHERE(GoChanlinear);

}  // namespace
}  // namespace bulkhead::sched
