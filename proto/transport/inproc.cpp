#include "proto/transport/inproc.hpp"

#include <sys/eventfd.h>

#include <bulkhead/base/mutex.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cerrno>
#include <cstring>
#include <deque>
#include <map>
#include <string>

namespace bulkhead::transport {
namespace {

class InprocListener;

struct InprocNames {
  base::Mutex mutex;
  std::map<std::string, InprocListener*> listeners BULKHEAD_GUARDED_BY(mutex);
};

InprocNames& names() {
  static InprocNames all;
  return all;
}

class InprocListener final : public Listener {
 public:
  InprocListener(std::string path, ConnectionOptions options, base::UniqueFd event)
      : path_(std::move(path)), options_(std::move(options)), event_(std::move(event)) {}
  ~InprocListener() override {
    base::MutexLock lock(names().mutex);
    const auto place = names().listeners.find(path_);
    if (place != names().listeners.end() && place->second == this) names().listeners.erase(place);
  }

  Result<std::unique_ptr<Connection>> accept() override {
    base::MutexLock lock(mutex_);
    if (arrived_.empty()) return nullptr;
    eventfd_t one = 0;
    ::eventfd_read(event_.get(), &one);  // a semaphore: one for each that has arrived
    std::unique_ptr<Connection> next = std::move(arrived_.front());
    arrived_.pop_front();
    return next;
  }
  int fd() const override { return event_.get(); }
  std::uint64_t turned_away() const override {
    base::MutexLock lock(mutex_);
    return turned_away_;
  }

  Result<std::unique_ptr<Connection>> connect(const ConnectionOptions& options) {
    if (options.token != options_.token) {
      base::MutexLock lock(mutex_);
      ++turned_away_;
      return fail(Code::kUnauthenticated, "'{}' expects another token", path_);
    }
    auto pair = make_inproc_pair(options_.window_bytes);
    if (!pair) return fail(std::move(pair.error()));
    auto connector = make_inproc_connection(*pair, End::kConnector, options);
    base::MutexLock lock(mutex_);
    arrived_.push_back(make_inproc_connection(*pair, End::kAcceptor, options_));
    ::eventfd_write(event_.get(), 1);
    return connector;
  }

 private:
  const std::string path_;
  const ConnectionOptions options_;
  const base::UniqueFd event_;
  mutable base::Mutex mutex_;
  std::deque<std::unique_ptr<Connection>> arrived_ BULKHEAD_GUARDED_BY(mutex_);
  std::uint64_t turned_away_ BULKHEAD_GUARDED_BY(mutex_) = 0;
};

}  // namespace

Result<std::shared_ptr<InprocPair>> make_inproc_pair(std::size_t window_bytes) {
  auto memory = RingMemory::create(2, ring_capacity_for(window_bytes));
  if (!memory) return fail(std::move(memory.error()));
  memory->close_memfd();
  auto pair = std::make_shared<InprocPair>();
  pair->memory = std::move(*memory);
  return pair;
}

std::unique_ptr<Connection> make_inproc_connection(const std::shared_ptr<InprocPair>& pair, End end,
                                                   const ConnectionOptions& options) {
  return std::make_unique<InprocConnection>(
      options, std::shared_ptr<RingMemory>(pair, &pair->memory), end, pair, end);
}

Result<std::unique_ptr<Listener>> listen_inproc(const std::string& path,
                                                const ConnectionOptions& options) {
  base::UniqueFd event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE));
  if (!event) return fail(Code::kResourceExhausted, "no eventfd: {}", std::strerror(errno));
  auto listener = std::make_unique<InprocListener>(path, options, std::move(event));
  base::MutexLock lock(names().mutex);
  if (!names().listeners.try_emplace(path, listener.get()).second)
    return fail(Code::kInvalidArgument, "something in this process listens at '{}' already", path);
  return listener;
}

Result<std::unique_ptr<Connection>> connect_inproc(const std::string& path,
                                                   const ConnectionOptions& options) {
  base::MutexLock lock(names().mutex);
  const auto place = names().listeners.find(path);
  if (place == names().listeners.end())
    return fail(Code::kUnavailable, "nothing in this process listens at '{}'", path);
  return place->second->connect(options);
}

}  // namespace bulkhead::transport
