#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <bulkhead/wire/crash_page.hpp>
#include <cstddef>
#include <cstring>
#include <random>
#include <type_traits>

namespace bulkhead::wire {
namespace {

CrashPageMapping created() {
  auto page = CrashPageMapping::create();
  EXPECT_TRUE(page.has_value()) << page.error().text;
  return page ? std::move(*page) : CrashPageMapping();
}

base::UniqueFd memfd(std::size_t size, int seals) {
  base::UniqueFd fd(::memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  EXPECT_EQ(::ftruncate(fd.get(), static_cast<off_t>(size)), 0);
  EXPECT_EQ(::fcntl(fd.get(), F_ADD_SEALS, seals), 0);
  return fd;
}

TEST(CrashPageTest, ANewPageIsEmpty) {
  const CrashPageMapping page = created();
  const CrashSnapshot seen = page.snapshot();
  EXPECT_EQ(seen.started, 0u);
  EXPECT_EQ(seen.finished, 0u);
  EXPECT_TRUE(seen.running.empty());
  EXPECT_FALSE(seen.has_fatal);
  EXPECT_NE(::fcntl(page.fd(), F_GETFD) & FD_CLOEXEC, 0);
}

// The layout that proto/README.md promises to workers in other languages.
static_assert(std::is_standard_layout_v<CrashPage>);
static_assert(sizeof(CrashPage) == 218624 && sizeof(CrashSlot) == 64);
static_assert(offsetof(CrashPage, fault_stamp_ns) == 8 && offsetof(CrashPage, fired) == 16);
static_assert(offsetof(CrashPage, fatal) == 320 && offsetof(CrashPage, slot) == 960);
static_assert(offsetof(CrashPage::Fatal, job) == 32 && offsetof(CrashPage::Fatal, frames) == 64);

static_assert(offsetof(CrashPage::Fatal, stack_overflow) == 576 &&
              offsetof(CrashPage::Fatal, stack_bytes) == 584 &&
              offsetof(CrashPage::Fatal, task_name) == 592);
static_assert(offsetof(CrashPage, fired_jobs) == 66504);
static_assert(offsetof(CrashPage, exit_job) == 70600 && offsetof(CrashPage, overdue_job) == 70608);
static_assert(offsetof(CrashPage, kept_next) == 70624 && offsetof(CrashPage, kept) == 70656);
static_assert(offsetof(CrashPage, lent_ns) == 70616 && offsetof(CrashPage, alone_ns) == 70640);
static_assert(sizeof(KeptResult) == 512 && offsetof(KeptResult, bytes) == 8);
static_assert(offsetof(CrashPage, stack) == 201728 && offsetof(CrashPage::Stack, address) == 8);
static_assert(offsetof(CrashPage::Stack, registers) == 24 &&
              offsetof(CrashPage::Stack, bytes) == 296);

TEST(CrashPageTest, TellsWhoHungWhoLeftAndWhichJobsWereStruck) {
  const CrashPageMapping mapping = created();
  CrashPage& page = *mapping.page();
  page.slots = 2;
  page.slot[1].job = 7;
  page.slot[1].checkpoints = 3;
  page.exit_job = 5;
  page.overdue_job = 6;
  page.fired_jobs_count = 4;
  page.fired_jobs[0] = (std::uint64_t{2} << 56) | 11;
  page.fired_jobs[1] = 0;                               // counted, never written
  page.fired_jobs[2] = (std::uint64_t{200} << 56) | 1;  // no such fault
  page.fired_jobs[3] = 1;
  CrashSnapshot seen = mapping.snapshot();
  ASSERT_EQ(seen.slots.size(), 1u);
  EXPECT_EQ(seen.slots[0].slot, 1u);
  EXPECT_EQ(seen.slots[0].job, 7u);
  EXPECT_EQ(seen.slots[0].checkpoints, 3u);
  EXPECT_EQ(seen.overdue_job, 6u);
  const std::vector<std::pair<std::uint32_t, std::uint64_t>> struck{{2, 10}, {0, 0}};
  EXPECT_EQ(seen.fired_jobs, struck);
  EXPECT_EQ(seen.culprit(), 5u);
  seen.hung_job = 9;
  EXPECT_EQ(seen.culprit(), 9u);
  page.fired_jobs_count = ~0u;  // a worker that lies
  EXPECT_LE(mapping.snapshot().fired_jobs.size(), kMaxFired);
}

TEST(CrashPageTest, NeitherSideCanResizeIt) {
  const CrashPageMapping page = created();
  EXPECT_NE(::ftruncate(page.fd(), 0), 0);
  EXPECT_NE(::ftruncate(page.fd(), 1 << 20), 0);
  EXPECT_NE(::fcntl(page.fd(), F_ADD_SEALS, F_SEAL_WRITE), 0);
}

TEST(CrashPageTest, TheOtherSideSeesEachStore) {
  const CrashPageMapping coordinator = created();
  auto worker = CrashPageMapping::attach(coordinator.fd());
  ASSERT_TRUE(worker.has_value()) << worker.error().text;
  EXPECT_EQ(worker->fd(), -1);
  CrashPage& page = *worker->page();
  page.slots = 3;
  page.slot[0].job = 5;
  page.slot[0].started = 3;
  page.slot[0].finished = 2;
  page.slot[0].checkpoints = 11;
  page.slot[1].job = kSourceJob;
  page.slot[1].started = 1;
  page.slot[2].job = 5;  // the same job twice
  page.slot[3].job = 9;  // not in use
  page.fault_stamp_ns = 123;
  page.fired[63] = 2;
  const CrashSnapshot seen = coordinator.snapshot();
  EXPECT_EQ(seen.started, 4u);
  EXPECT_EQ(seen.finished, 2u);
  EXPECT_EQ(seen.checkpoints, 11u);
  EXPECT_EQ(seen.running, (std::vector<std::uint64_t>{5, kSourceJob}));
  EXPECT_EQ(seen.fault_stamp_ns, 123);
  EXPECT_EQ(seen.fired[63], 2u);
}

TEST(CrashPageTest, AFatalRecordCountsOnlyWhenComplete) {
  const CrashPageMapping mapping = created();
  CrashPage::Fatal& fatal = mapping.page()->fatal;
  fatal.claimed = 1;
  fatal.signal = SIGSEGV;
  fatal.address = 0xdead;
  fatal.job = 20;
  fatal.frame_count = 2;
  fatal.frames[0] = 100;
  fatal.frames[1] = 200;
  EXPECT_FALSE(mapping.snapshot().has_fatal);
  fatal.complete.store(1, std::memory_order_release);
  const CrashSnapshot seen = mapping.snapshot();
  ASSERT_TRUE(seen.has_fatal);
  EXPECT_EQ(seen.fatal.signal, SIGSEGV);
  EXPECT_EQ(seen.fatal.address, 0xdeadu);
  EXPECT_EQ(seen.fatal.job, 20u);
  EXPECT_EQ(seen.fatal.frames, (std::vector<std::uint64_t>{100, 200}));
}

TEST(CrashPageTest, AStackCountsOnlyWhenCompleteAndWithASignal) {
  const CrashPageMapping mapping = created();
  CrashPage& page = *mapping.page();
  page.stack.register_count = 17;
  page.stack.registers[7] = 0x7000;
  page.stack.address = 0x7000;
  page.stack.size = 3;
  page.stack.bytes[2] = 'x';
  page.stack.complete = 1;
  EXPECT_TRUE(mapping.snapshot().fatal.registers.empty());
  page.fatal.signal = SIGSEGV;
  page.fatal.instruction = 0x1234;
  page.fatal.complete = 1;
  const CrashSnapshot::Fatal seen = mapping.snapshot().fatal;
  EXPECT_EQ(seen.instruction, 0x1234u);
  ASSERT_EQ(seen.registers.size(), 17u);
  EXPECT_EQ(seen.registers[7], 0x7000u);
  EXPECT_EQ(seen.stack_address, 0x7000u);
  EXPECT_EQ(seen.stack, std::string("\0\0x", 3));
  page.stack.complete = 0;
  EXPECT_TRUE(mapping.snapshot().fatal.stack.empty());
}

TEST(CrashPageTest, ThePageSurvivesSigkillOfItsWriter) {
  const CrashPageMapping mapping = created();
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    auto page = CrashPageMapping::attach(mapping.fd());
    if (!page) ::_exit(1);
    page->page()->slots = 1;
    page->page()->slot[0].started = 1;
    page->page()->slot[0].job = 42;
    ::kill(::getpid(), SIGKILL);
    ::_exit(2);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_EQ(mapping.snapshot().running, (std::vector<std::uint64_t>{42}));
  EXPECT_EQ(mapping.snapshot().started, 1u);
}

TEST(CrashPageTest, WhatIsNotSealedOrNotTheRightSizeIsRefused) {
  constexpr int kAll = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
  const base::UniqueFd refused[] = {
      memfd(sizeof(CrashPage), 0),
      memfd(sizeof(CrashPage), F_SEAL_SHRINK | F_SEAL_GROW),
      memfd(sizeof(CrashPage), F_SEAL_GROW | F_SEAL_SEAL),
      memfd(sizeof(CrashPage) - 1, kAll),
      memfd(sizeof(CrashPage) + 4096, kAll),
      memfd(0, kAll),
      base::UniqueFd(::open("/dev/zero", O_RDWR | O_CLOEXEC)),
  };
  for (const base::UniqueFd& fd : refused) {
    const auto page = CrashPageMapping::attach(fd.get());
    ASSERT_FALSE(page.has_value());
    EXPECT_EQ(page.error().code, Code::kProtocolError);
  }
  EXPECT_FALSE(CrashPageMapping::attach(-1).has_value());
  // Sealed against writing: refused by the mapping, not by a fault later.
  EXPECT_FALSE(
      CrashPageMapping::attach(memfd(sizeof(CrashPage), kAll | F_SEAL_WRITE).get()).has_value());
}

TEST(CrashPageTest, APageOfAnotherVersionIsRefused) {
  const CrashPageMapping mapping = created();
  mapping.page()->version = kCrashPageVersion + 1;
  const auto page = CrashPageMapping::attach(mapping.fd());
  ASSERT_FALSE(page.has_value());
  EXPECT_EQ(page.error().code, Code::kVersionMismatch);
}

TEST(CrashPageTest, GarbageGivesASaneSnapshot) {
  const CrashPageMapping mapping = created();
  std::mt19937_64 random(20240607);
  for (int round = 0; round < 50; ++round) {
    // The worker may write any bytes, past every type.
    auto* bytes = reinterpret_cast<unsigned char*>(mapping.page());
    for (std::size_t i = 0; i + 8 <= sizeof(CrashPage); i += 8) {
      const std::uint64_t word = round == 0 ? ~std::uint64_t{0} : random();
      std::memcpy(bytes + i, &word, sizeof word);
    }
    if (round % 2 == 0) mapping.page()->fatal.complete = 1;
    if (round % 8 == 0) mapping.page()->stack.complete = 1;
    if (round % 4 == 0) mapping.page()->fatal.signal = SIGABRT;
    const CrashSnapshot seen = mapping.snapshot();
    EXPECT_LE(seen.finished, seen.started);
    EXPECT_LE(seen.running.size(), kMaxSlots);
    EXPECT_LE(seen.fatal.frames.size(), kMaxFrames);
    EXPECT_LE(seen.fatal.registers.size(), kMaxRegisters);
    EXPECT_LE(seen.fatal.stack.size(), kMaxStackBytes);
    EXPECT_GE(seen.fault_stamp_ns, 0);
    EXPECT_EQ(seen.has_fatal, round % 4 == 0);
    for (const std::uint64_t job : seen.running) EXPECT_NE(job, kNoJob);
  }
}

TEST(CrashPageTest, APunchedHoleReadsAsAnEmptyPage) {
  const CrashPageMapping mapping = created();
  mapping.page()->slots = 1;
  mapping.page()->slot[0].job = 1;
  ASSERT_EQ(
      ::fallocate(mapping.fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, sizeof(CrashPage)),
      0);
  EXPECT_TRUE(mapping.snapshot().running.empty());
}

TEST(CrashPageTest, MovingKeepsTheOneMapping) {
  CrashPageMapping first = created();
  first.page()->slots = 1;
  first.page()->slot[0].job = 7;
  CrashPageMapping second = std::move(first);
  EXPECT_EQ(second.snapshot().running.size(), 1u);
  EXPECT_TRUE(first.snapshot().running.empty());  // NOLINT: a moved-from mapping is empty
  second = created();
  EXPECT_TRUE(second.snapshot().running.empty());
}

}  // namespace
}  // namespace bulkhead::wire
