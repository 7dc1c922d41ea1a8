// A wait registers its descriptor for one event (EPOLLONESHOT) and leaves the registration there,
// so that the next wait changes it: one system call a wait. Registrations outlive what they were
// made for: a wait that timed out, a file whose number was closed while a duplicate lives. So each
// carries the number of its turn, and what an old one tells is not listened to.
//
// A number may mean another file each time, without notice: whether the kernel knows it is found
// out by asking it.
//
// What reads errno is BULKHEAD_OPAQUE: its callers may go on on another thread.
#include "sched/poller.hpp"

#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/opaque.hpp>
#include <bulkhead/sched/poll.hpp>
#include <bulkhead/sched/scheduler.hpp>
#include <cerrno>
#include <chrono>
#include <system_error>
#include <utility>

#include "sched/await_descriptor.hpp"
#include "sched/processor.hpp"
#include "sched/standing_read.hpp"
#include "sched/thread_blocks.hpp"

namespace bulkhead::sched {
namespace {

constexpr std::size_t kMostEvents = 64;
constexpr std::size_t kRead = static_cast<std::size_t>(Poller::Direction::kRead);
constexpr std::size_t kWrite = static_cast<std::size_t>(Poller::Direction::kWrite);
constexpr std::uint32_t kEnds = EPOLLERR | EPOLLHUP;             // of either direction
constexpr base::Duration kSlice = std::chrono::milliseconds(1);  // under a Chooser

timespec to_timespec(std::int64_t nanoseconds) {
  return {.tv_sec = static_cast<time_t>(nanoseconds / 1'000'000'000),
          .tv_nsec = static_cast<long>(nanoseconds % 1'000'000'000)};
}

constexpr std::int64_t kNow = 0;
// No tickets, as there are no such descriptors.
constexpr std::uint64_t kWakes = 0xffffffff;
constexpr std::uint64_t kStanding = 0xfffffffe;  // in the lower half; a number in the upper
constexpr std::size_t kSweepAt = 1024;           // registrations, of which many may be gone

using Events = std::array<epoll_event, kMostEvents>;

// Blocks until there are some, or the deadline. May answer 0 early.
int wait_until(int epoll, Events& events, std::int64_t deadline_ns) {
  const bool forever = deadline_ns == Timers::kNever;
  if (forever || deadline_ns == kNow)
    return ::epoll_wait(epoll, events.data(), kMostEvents, forever ? -1 : 0);
  const timespec left = to_timespec(std::max<std::int64_t>(deadline_ns - base::monotonic_ns(), 0));
  const int count = ::epoll_pwait2(epoll, events.data(), kMostEvents, &left, nullptr);
  if (count >= 0 || errno != ENOSYS) return count;
  // Linux before 5.11, whose epoll knows whole milliseconds only.
  pollfd file{.fd = epoll, .events = POLLIN, .revents = 0};
  if (::ppoll(&file, 1, &left, nullptr) <= 0) return 0;
  return ::epoll_wait(epoll, events.data(), kMostEvents, 0);
}

[[noreturn]] void refuse(int error, int fd) {
  throw std::system_error(error, std::generic_category(),
                          fmt::format("wait for descriptor {}", fd));
}

// Here other goroutines run next, or again, whose errno it is.
class KeepErrno {
 public:
  KeepErrno() = default;
  ~KeepErrno() { errno = before_; }
  KeepErrno(const KeepErrno&) = delete;
  KeepErrno& operator=(const KeepErrno&) = delete;

 private:
  const int before_ = errno;
};

std::uint64_t ticket(int fd, std::uint32_t turn) {
  return std::uint64_t{turn} << 32 | static_cast<std::uint32_t>(fd);
}

std::uint64_t standing_ticket(std::uint32_t number) {
  return std::uint64_t{number} << 32 | kStanding;
}

}  // namespace

// A registration that stays. The descriptor is a duplicate of its own, so that waits of the other
// kind for the same file have theirs.
struct Standing {
  std::shared_ptr<const base::UniqueFd> epoll;
  base::UniqueFd fd;
  const pid_t owner = ::getpid();
  std::uint32_t number = 0;
  // Guarded by the poller's lock.
  Poller::FdWait* waiter = nullptr;
  bool ready = false;  // since the last wait
  bool muted = false;  // something came that nobody waited for: the kernel is not to tell of more

  Standing() = default;
  Standing(const Standing&) = delete;
  Standing& operator=(const Standing&) = delete;
  ~Standing() {
    // Closing the duplicate does not end it. A child that was forked has its parent's instance.
    if (fd && owner == ::getpid()) ::epoll_ctl(epoll->get(), EPOLL_CTL_DEL, fd.get(), nullptr);
  }
  bool watch(int operation, std::uint32_t events) const {
    epoll_event event{};
    event.events = events | EPOLLET;
    event.data.u64 = standing_ticket(number);
    return ::epoll_ctl(epoll->get(), operation, fd.get(), &event) == 0;
  }
};

Poller::FdWait::FdWait(Task& waiting, int descriptor, Direction where, std::int64_t until_ns)
    : TimerNode{.fire =
                    [](TimerNode& node) {
                      auto& self = static_cast<FdWait&>(node);
                      if (self.claim(kTimedOut)) unpark_task(self.task);
                    }},
      task(waiting),
      fd(descriptor),
      direction(where),
      deadline(until_ns) {}

void Poller::begin_run() {
  const pid_t here = ::getpid();
  LockGuard guard(lock_);
  if (std::exchange(owner_, here) == here) return;
  epoll_.reset();
  event_.reset();
  watched_.clear();
  standing_.clear();
}

BULKHEAD_OPAQUE void Poller::open() {
  if (waiting()) return;
  LockGuard guard(lock_);
  if (event_) return;
  base::UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  base::UniqueFd event(epoll ? ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK) : -1);
  if (!event)
    throw std::system_error(errno, std::generic_category(),
                            "wait for a descriptor: no epoll instance");
  // Level-triggered: whoever looks sees it, too, and leaves it to the one that sleeps.
  epoll_event wakes{};
  wakes.events = EPOLLIN;
  wakes.data.u64 = kWakes;
  if (::epoll_ctl(epoll.get(), EPOLL_CTL_ADD, event.get(), &wakes) != 0)
    throw std::system_error(errno, std::generic_category(), "wait for a descriptor: no watch");
  epoll_ = std::make_shared<const base::UniqueFd>(std::move(epoll));
  event_ = std::move(event);
}

// 0, or why the kernel refuses.
int Poller::watch(int fd, Watched& watched) {
  epoll_event event{};
  event.events = EPOLLONESHOT;
  if (watched.first[kRead] != nullptr) event.events |= EPOLLIN;
  if (watched.first[kWrite] != nullptr) event.events |= EPOLLOUT;
  event.data.u64 = ticket(fd, ++watched.turn);
  for (;;) {
    const int operation = watched.registered ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;
    const int error = ::epoll_ctl(epoll_->get(), operation, fd, &event) == 0 ? 0 : errno;
    if (error == 0) watched.registered = true;
    if (error != ENOENT && error != EEXIST) return error;
    watched.registered = error == EEXIST;  // it means another file than before
  }
}

void Poller::list(FdWait*& place, FdWait& wait) {
  wait.next = std::exchange(place, &wait);
  wait.listed = true;
  if (!wait.task.outside.load(std::memory_order_relaxed))
    hoping_.fetch_add(1, std::memory_order_relaxed);
  // release: what open() made is there for those that look.
  waiting_.fetch_add(1, std::memory_order_release);
}

void Poller::unlist(FdWait*& place) {
  FdWait& wait = *std::exchange(place, place->next);
  wait.listed = false;
  if (!wait.task.outside.load(std::memory_order_relaxed))
    hoping_.fetch_sub(1, std::memory_order_release);  // pairs with hopes()
  waiting_.fetch_sub(1, std::memory_order_relaxed);
}

// When the lock is released the goroutine may be gone.
BULKHEAD_OPAQUE void Poller::arm(FdWait& wait, Timers& timers) {
  const KeepErrno keep;
  LockGuard guard(lock_);
  Watched& watched = watched_[wait.fd];
  FdWait*& first = watched.first[static_cast<std::size_t>(wait.direction)];
  list(first, wait);
  wait.error = watch(wait.fd, watched);
  if (wait.error != 0) {
    unlist(first);
    unpark_task(wait.task);
    return;
  }
  // No fire() takes our lock.
  if (wait.deadline != Timers::kNever) timers.arm(wait, wait.deadline);
}

void Poller::forget(FdWait& wait) {
  LockGuard guard(lock_);
  if (!wait.listed) return;
  FdWait** place = &watched_[wait.fd].first[static_cast<std::size_t>(wait.direction)];
  while (*place != &wait) place = &(*place)->next;
  unlist(*place);
}

bool Poller::knows(const Standing& standing) {
  LockGuard guard(lock_);
  return standing.epoll == epoll_ && standing.owner == owner_;
}

BULKHEAD_OPAQUE std::shared_ptr<Standing> Poller::stand(int fd) {
  const KeepErrno keep;
  auto standing = std::make_shared<Standing>();
  standing->fd = base::UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!standing->fd) return nullptr;
  LockGuard guard(lock_);
  if (standing_.size() >= kSweepAt)
    std::erase_if(standing_, [](const auto& entry) { return entry.second.expired(); });
  standing->epoll = epoll_;
  standing->number = next_standing_++;
  if (!standing->watch(EPOLL_CTL_ADD, EPOLLIN | EPOLLRDHUP)) {
    standing->fd.reset();
    return nullptr;
  }
  standing_[standing->number] = standing;
  return standing;
}

// When the lock is released the goroutine may be gone.
BULKHEAD_OPAQUE void Poller::arm(FdWait& wait, Standing& standing) {
  const KeepErrno keep;
  LockGuard guard(lock_);
  // What has come since may have been read: then the wait was for nothing. If it can be read still,
  // the kernel tells so when it is asked to tell again.
  const bool tells =
      !std::exchange(standing.muted, false) || standing.watch(EPOLL_CTL_MOD, EPOLLIN | EPOLLRDHUP);
  if (std::exchange(standing.ready, false) || !tells) {
    wait.claim(FdWait::kReady);
    unpark_task(wait.task);
    return;
  }
  list(standing.waiter, wait);
}

// Events that come while nobody waits would wake whoever sleeps, one by one.
void Poller::take_standing(std::uint32_t number, TaskList& ready) {
  const auto found = standing_.find(number);
  const std::shared_ptr<Standing> standing =
      found == standing_.end() ? nullptr : found->second.lock();
  if (!standing) return;
  if (standing->waiter != nullptr) return take(standing->waiter, ready);
  standing->ready = true;
  standing->muted = standing->muted || standing->watch(EPOLL_CTL_MOD, 0);
}

void Poller::take(FdWait*& first, TaskList& ready) {
  while (FdWait* const wait = first) {
    unlist(first);
    // One that has timed out takes its leave itself.
    if (wait->claim(FdWait::kReady)) ready.push_back(wait->task);
  }
}

TaskList Poller::look() {
  bool woken = false;  // whom that was meant for takes note
  return take_events(kNow, woken);
}

BULKHEAD_OPAQUE TaskList Poller::sleep(std::int64_t deadline_ns) {
  const KeepErrno keep;
  bool woken = false;
  TaskList ready = take_events(deadline_ns, woken);
  if (!woken) return ready;
  eventfd_t wakes = 0;
  ::eventfd_read(event_.get(), &wakes);  // EAGAIN: nothing to take back
  return ready;
}

BULKHEAD_OPAQUE TaskList Poller::take_events(std::int64_t deadline_ns, bool& woken) {
  const KeepErrno keep;
  Events events;
  TaskList ready;
  const int count = wait_until(epoll_->get(), events, deadline_ns);
  if (count <= 0) return ready;
  LockGuard guard(lock_);
  // Before any of them is counted out: whoever is about to sleep, last of all, must see the one or
  // the other.
  holding_.fetch_add(1, std::memory_order_relaxed);
  for (int i = 0; i < count; ++i) {
    const epoll_event& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kWakes) {
      woken = true;
      continue;
    }
    if ((event.data.u64 & 0xffffffff) == kStanding) {
      take_standing(static_cast<std::uint32_t>(event.data.u64 >> 32), ready);
      continue;
    }
    const int fd = static_cast<int>(event.data.u64 & 0xffffffff);
    Watched& watched = watched_[fd];
    if (event.data.u64 != ticket(fd, watched.turn)) continue;
    if ((event.events & (EPOLLIN | kEnds)) != 0) take(watched.first[kRead], ready);
    if ((event.events & (EPOLLOUT | kEnds)) != 0) take(watched.first[kWrite], ready);
    // For the other direction. It fails when the file has just been closed: who waits for that
    // would wait for ever.
    if (!watched.is_waited_for() || watch(fd, watched) == 0) continue;
    take(watched.first[kRead], ready);
    take(watched.first[kWrite], ready);
  }
  if (ready.count == 0) handed_over();
  return ready;
}

bool Poller::has_ready() const {
  pollfd file{.fd = epoll_->get(), .events = POLLIN, .revents = 0};
  return ::poll(&file, 1, 0) > 0;
}

void Poller::wake() { ::eventfd_write(event_.get(), 1); }  // cannot fail before 2^64 of them

namespace {

BULKHEAD_OPAQUE bool is_ready(int fd, Poller::Direction direction, base::Duration patience) {
  if (fd < 0) refuse(EBADF, fd);  // which poll(2) would pass over
  pollfd file{.fd = fd,
              .events = direction == Poller::Direction::kRead ? short{POLLIN} : short{POLLOUT},
              .revents = 0};
  const timespec limit = to_timespec(patience.count());
  const bool forever = patience == base::Duration::max();
  const int count = ::ppoll(&file, 1, forever ? nullptr : &limit, nullptr);
  if (count < 0 && errno != EINTR) refuse(errno, fd);
  if (count > 0 && (file.revents & POLLNVAL) != 0) refuse(EBADF, fd);
  return count > 0;
}

bool thread_waits(int fd, Poller::Direction direction, base::TimePoint deadline) {
  const ThreadBlocks blocks;
  for (;;) {
    const bool forever = deadline == base::TimePoint::max();
    const base::Duration left = forever ? base::Duration::max() : deadline - base::Clock::now();
    if (is_ready(fd, direction, std::max(left, base::Duration::zero()))) return true;
    if (left <= base::Duration::zero()) return false;
  }
}

// Others run first; when all of them wait, time passes, here as there.
bool chosen_waits(int fd, Poller::Direction direction, base::TimePoint deadline) {
  for (bool first = true;; first = false) {
    if (is_ready(fd, direction, first ? base::Duration::zero() : kSlice)) return true;
    const base::Duration left = deadline - now();
    if (left <= base::Duration::zero()) return false;
    sleep_for(std::min(left, kSlice));
  }
}

// Another runs here now, perhaps for long: so somebody is to watch.
void have_watched(Processor& processor) {
  SchedulerImpl& scheduler = processor.scheduler;
  if (processor.current == nullptr || !scheduler.is_shared()) return;
  full_fence();  // see SchedulerImpl::sleep()
  if (!scheduler.watched.load(std::memory_order_relaxed)) scheduler.wake_one();
}

void arm(Processor& processor, void* object) {
  auto& wait = *static_cast<Poller::FdWait*>(object);
  processor.scheduler.poller.arm(wait, processor.scheduler.timers);
  have_watched(processor);
}

struct StandingWait {
  Poller::FdWait wait;
  Standing& standing;
};

void arm_standing(Processor& processor, void* object) {
  auto& self = *static_cast<StandingWait*>(object);
  processor.scheduler.poller.arm(self.wait, self.standing);
  have_watched(processor);
}

bool goroutine_waits(Task& task, int fd, Poller::Direction direction, std::int64_t deadline_ns,
                     base::SourceSite site) {
  SchedulerImpl& scheduler = *task.scheduler;
  scheduler.poller.open();
  Poller::FdWait wait(task, fd, direction, deadline_ns);
  const bool reads = direction == Poller::Direction::kRead;
  const ParkReason reason = reads ? ParkReason::kReadable : ParkReason::kWritable;
  park_task(task, {reason, ParkRecord::of_descriptor(fd), site}, {&arm, &wait});
  if (wait.error == EPERM) return true;  // a file that is always ready
  if (wait.error != 0) refuse(wait.error, fd);
  // acquire pairs with claim().
  if (wait.outcome.load(std::memory_order_acquire) == Poller::FdWait::kTimedOut) {
    scheduler.poller.forget(wait);
    return false;
  }
  if (deadline_ns != Timers::kNever) scheduler.timers.disarm(wait);
  return true;
}

bool wait_until_ready(int fd, Poller::Direction direction, std::int64_t deadline_ns,
                      base::SourceSite site) {
  const base::TimePoint deadline = deadline_ns == Timers::kNever
                                       ? base::TimePoint::max()
                                       : base::TimePoint(base::Duration(deadline_ns));
  Task* const task = current_task();
  if (task == nullptr) return thread_waits(fd, direction, deadline);
  if (task->scheduler->chooser != nullptr) return chosen_waits(fd, direction, deadline);
  return goroutine_waits(*task, fd, direction, deadline_ns, site);
}

bool wait_for(int fd, Poller::Direction direction, base::Duration timeout, base::SourceSite site) {
  interleave();
  const bool ready = is_ready(fd, direction, base::Duration::zero());
  if (ready || timeout <= base::Duration::zero()) {
    count_operation();
    return ready;
  }
  const bool forever = timeout == base::Duration::max();
  return wait_until_ready(fd, direction, forever ? Timers::kNever : deadline_after(timeout), site);
}

// For ever, by one who has just found that it is not ready: no first look.
void wait_on(int fd, Poller::Direction direction, base::SourceSite site) {
  interleave();
  wait_until_ready(fd, direction, Timers::kNever, site);
}

}  // namespace

void await_readable(int fd, base::SourceSite site) { wait_on(fd, Poller::Direction::kRead, site); }

void await_writable(int fd, base::SourceSite site) { wait_on(fd, Poller::Direction::kWrite, site); }

void StandingRead::wait(int fd, base::SourceSite site) {
  Task* const task = current_task();
  if (task == nullptr || task->scheduler->chooser != nullptr) return await_readable(fd, site);
  Poller& poller = task->scheduler->poller;
  poller.open();
  if (!standing_ || !poller.knows(*standing_)) standing_ = poller.stand(fd);
  if (!standing_) return await_readable(fd, site);
  StandingWait wait{.wait = Poller::FdWait(*task, fd, Poller::Direction::kRead, Timers::kNever),
                    .standing = *standing_};
  park_task(*task, {ParkReason::kReadable, ParkRecord::of_descriptor(fd), site},
            {&arm_standing, &wait});
}

bool wait_readable(int fd, base::Duration timeout, base::SourceSite site) {
  return wait_for(fd, Poller::Direction::kRead, timeout, site);
}

bool wait_writable(int fd, base::Duration timeout, base::SourceSite site) {
  return wait_for(fd, Poller::Direction::kWrite, timeout, site);
}

}  // namespace bulkhead::sched
