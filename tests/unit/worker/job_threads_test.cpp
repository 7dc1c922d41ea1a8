// The `threads` model's tasks: kernel threads that the primitives block.
#include "job_threads.hpp"

#include <gtest/gtest.h>

#include <bulkhead/sched/channel.hpp>
#include <bulkhead/sched/wait_group.hpp>
#include <memory>
#include <set>
#include <thread>

#include "crash_handler.hpp"

namespace bulkhead::worker {
namespace {

class JobThreadsTest : public testing::Test {
 protected:
  // Hosts outlive their detached threads: for ever.
  JobThreads& make(std::uint32_t pool) {
    static auto& hosts = *new std::vector<std::unique_ptr<JobThreads>>;
    static auto& pages = *new std::vector<std::unique_ptr<wire::CrashPage>>;
    page_ = pages.emplace_back(std::make_unique<wire::CrashPage>()).get();
    return *hosts.emplace_back(std::make_unique<JobThreads>(page_, pool));
  }

  // Runs `jobs` as the source of a run would start them; returns the threads that ran them.
  std::set<std::thread::id> run_jobs(JobThreads& host, std::uint64_t jobs,
                                     const std::function<void(std::uint64_t)>& job) {
    base::Mutex mutex;
    std::set<std::thread::id> threads;
    sched::WaitGroup group;
    group.add(static_cast<std::int64_t>(jobs));
    sched::Channel<char> started(0);
    host.run([&] {
      sched::go(
          [&] {
            for (std::uint64_t index = 0; index < jobs; ++index) {
              sched::go(
                  [&, index] {
                    job(index);
                    {
                      base::MutexLock lock(mutex);
                      threads.insert(std::this_thread::get_id());
                    }
                    group.done();
                  },
                  index);
            }
            started.send(1);
          },
          wire::kSourceJob);
      started.receive();
    });
    group.wait();
    return threads;
  }

  std::vector<std::uint64_t> in_slots() const {
    std::vector<std::uint64_t> jobs;
    for (const wire::CrashSlot& slot : page_->slot) {
      if (const std::uint64_t job = slot.job.load(); wire::is_real_job(job)) jobs.push_back(job);
    }
    return jobs;
  }

  wire::CrashPage* page_ = nullptr;
};

TEST_F(JobThreadsTest, EachJobHasAThreadOfItsOwnAndItsNumber) {
  JobThreads& host = make(0);
  sched::Channel<char> gate(0);
  sched::WaitGroup arrived;
  arrived.add(20);
  std::atomic<int> wrong{0};
  std::thread opener([&] {
    arrived.wait();  // all twenty at once, or this never ends
    for (int i = 0; i < 20; ++i) gate.send(1);
  });
  const auto threads = run_jobs(host, 20, [&](std::uint64_t index) {
    if (sched::current_tag() != index || thread_slot() < 0) ++wrong;
    arrived.done();
    gate.receive();
  });
  opener.join();
  EXPECT_EQ(threads.size(), 20u);
  EXPECT_EQ(wrong, 0);
}

TEST_F(JobThreadsTest, APoolRunsEveryJobOnNoMoreThreadsThanItHas) {
  const auto threads = run_jobs(make(3), 200, [](std::uint64_t) { sched::yield(); });
  EXPECT_GE(threads.size(), 1u);
  EXPECT_LE(threads.size(), 3u);
}

TEST_F(JobThreadsTest, TasksThatAJobStartsNeverWaitForThePool) {
  run_jobs(make(1), 4, [](std::uint64_t index) {
    sched::Channel<std::uint64_t> question(0);
    sched::Channel<std::uint64_t> answer(0);
    sched::go([&] { answer.send(*question.receive() + 1); });
    question.send(index);
    EXPECT_EQ(answer.receive(), index + 1);
  });
}

TEST_F(JobThreadsTest, AJobThatBlocksIsInNoSlotUntilItRunsAgain) {
  JobThreads& host = make(0);
  sched::Channel<char> gate(0);
  std::thread watcher([&] {
    // The job leaves its slot just before it sleeps on the channel.
    while (!in_slots().empty() || page_->slot[0].checkpoints.load() == 0) std::this_thread::yield();
    gate.send(1);
  });
  std::vector<std::uint64_t> after;
  run_jobs(host, 1, [&](std::uint64_t) {
    gate.receive();
    after = in_slots();
  });
  watcher.join();
  EXPECT_EQ(after, std::vector<std::uint64_t>{0});
}

TEST_F(JobThreadsTest, MoreTasksThanSlotsRunAllTheSame) {
  JobThreads& host = make(0);
  run_jobs(host, 1, [](std::uint64_t) {
    constexpr int kTasks = 100;
    sched::WaitGroup ended;
    ended.add(kTasks);
    sched::Channel<char> gate(0);
    for (int i = 0; i < kTasks; ++i) {
      sched::go([&] {
        gate.receive();
        ended.done();
      });
    }
    for (int i = 0; i < kTasks; ++i) gate.send(1);
    ended.wait();
  });
}

}  // namespace
}  // namespace bulkhead::worker
