#include "proto/transport/gate.hpp"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bulkhead/base/mutex.hpp>
#include <cerrno>
#include <optional>
#include <utility>
#include <vector>

namespace bulkhead::transport {
namespace {

// Numbers at the end of the descriptor table that no connection gets: whoever holds this socket
// still has to launch workers and write files.
constexpr rlim_t kReserve = 32;

using Accept = int (*)(int, sockaddr*, socklen_t*, int);

// The definition that ours hides: the C library's, or a sanitizer's.
Accept next_accept4() {
  static const Accept next = reinterpret_cast<Accept>(::dlsym(RTLD_NEXT, "accept4"));
  return next;
}

// accept4() is given nothing but a descriptor, so this one thing has to be global.
base::Mutex registry_mutex;
std::vector<Gate*>& registry() BULKHEAD_REQUIRES(registry_mutex) {
  static std::vector<Gate*> gates;
  return gates;
}

ino_t inode_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

pid_t peer_of(int connection) {
  ucred peer{};
  socklen_t size = sizeof peer;
  return ::getsockopt(connection, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : 0;
}

base::UniqueFd placeholder() { return base::UniqueFd(::open("/dev/null", O_RDONLY | O_CLOEXEC)); }

// What a call of accept4() comes to when a gate guards `listener`. The lock is held meanwhile: it
// keeps the gate alive, and a gate never blocks.
std::optional<int> guarded_accept(int listener, int flags) {
  const base::MutexLock lock(registry_mutex);
  for (Gate* gate : registry()) {
    if (gate->guards(listener)) return gate->accept(flags);
  }
  return std::nullopt;
}

}  // namespace

Gate::Gate(int listener, Admission admission)
    : listener_(listener),
      inode_(inode_of(listener)),
      admission_(std::move(admission)),
      returned_event_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      spare_(placeholder()) {
  const base::MutexLock lock(registry_mutex);
  registry().push_back(this);
}

Gate::~Gate() {
  const base::MutexLock lock(registry_mutex);
  std::erase(registry(), this);
}

bool Gate::guards(int listener) const {
  return listener == listener_ && inode_of(listener) == inode_;
}

int Gate::accept(int flags) {
  if (!spare_) spare_ = placeholder();
  const int connection = next_accept4()(listener_, nullptr, nullptr, flags);
  if (connection < 0) return errno == EMFILE ? without_descriptors(flags) : -1;
  return wanted(connection) ? connection : turn_away(connection);
}

bool Gate::wanted(int connection) {
  kept_.erase(connection);  // whatever had this number is closed
  rlimit limit{};
  if (::getrlimit(RLIMIT_NOFILE, &limit) == 0 &&
      static_cast<rlim_t>(connection) + kReserve >= limit.rlim_cur) {
    return false;
  }
  const pid_t pid = peer_of(connection);
  if (admission_.admits && !admission_.admits(pid)) return false;
  if (!has_room(pid)) return false;
  keep(connection, pid);
  return true;
}

void Gate::forget_ended(const std::function<bool(const Connection&)>& concerned) {
  std::erase_if(kept_, [&](const auto& entry) {
    const auto& [fd, connection] = entry;
    return concerned(connection) && inode_of(fd) != connection.inode;
  });
}

bool Gate::has_room(pid_t pid) {
  forget_ended([&](const Connection& connection) { return connection.pid == pid; });
  const auto held = std::count_if(kept_.begin(), kept_.end(),
                                  [&](const auto& entry) { return entry.second.pid == pid; });
  if (admission_.per_process > 0 && held >= admission_.per_process) return false;
  const auto total = static_cast<std::size_t>(admission_.total);
  if (admission_.total > 0 && kept_.size() >= total) {
    forget_ended([](const Connection&) { return true; });
    return kept_.size() < total;
  }
  return true;
}

void Gate::keep(int connection, pid_t pid) {
  const bool alone = std::none_of(kept_.begin(), kept_.end(),
                                  [&](const auto& entry) { return entry.second.pid == pid; });
  kept_[connection] = {inode_of(connection), pid};
  if (known_.insert(pid).second || !alone || pid == 0) return;
  const base::MutexLock lock(mutex_);
  returned_.push_back(pid);
  const std::uint64_t one = 1;
  // Fails only when the counter is full, and then the descriptor is readable already.
  static_cast<void>(!::write(returned_event_.get(), &one, sizeof one));
}

std::vector<int> Gate::take_returned() {
  const base::MutexLock lock(mutex_);
  std::uint64_t count = 0;
  static_cast<void>(!::read(returned_event_.get(), &count, sizeof count));  // empty is fine
  return std::exchange(returned_, {});
}

int Gate::turn_away(int connection) {
  turned_away_.fetch_add(1, std::memory_order_relaxed);  // before the peer can know
  ::close(connection);
  errno = ECONNABORTED;
  return -1;
}

int Gate::without_descriptors(int flags) {
  // Whoever it is, there is no number left even to ask with; a worker connects again.
  spare_.reset();
  const int connection = next_accept4()(listener_, nullptr, nullptr, flags);
  const int result = connection < 0 ? -1 : turn_away(connection);
  const int error = errno;
  spare_ = placeholder();
  if (connection < 0 && error == EMFILE) {
    // Another thread was quicker. The connection waits in the kernel's queue, so libzmq comes back
    // at once: without this pause it would spin until something is closed.
    ::poll(nullptr, 0, 1);
    errno = EAGAIN;
    return -1;
  }
  errno = error;
  return result;
}

}  // namespace bulkhead::transport

extern "C" int accept4(int listener, sockaddr* address, socklen_t* length, int flags) {
  using namespace bulkhead::transport;
  // libzmq asks for no address, and its callers' sockets are the only ones guarded.
  if (const auto accepted = guarded_accept(listener, flags)) return *accepted;
  return next_accept4()(listener, address, length, flags);
}
