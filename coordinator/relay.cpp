#include "relay.hpp"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/wire/codec.hpp>
#include <cerrno>
#include <utility>

namespace bulkhead::coordinator {
namespace {

using transport::Outcome;
using transport::Side;

constexpr std::uint64_t kListener = 0;
// From one at a time, so that the others, and exits and signals, get their turn.
constexpr std::size_t kMostAtOnce = 1024;
constexpr std::size_t kMostEnds = 4096;

}  // namespace

Result<std::unique_ptr<Relay>> Relay::open(transport::Kind kind, const std::string& directory,
                                           const std::string& name, const std::string& token) {
  transport::ConnectionOptions options;
  options.max_message_bytes = wire::kMaxMessageBytes;
  options.token = token;
  options.window_bytes = transport::bulk_window_bytes(kind);
  auto listener = transport::Listener::listen(kind, directory, name, options);
  if (!listener) return fail(std::move(listener.error()));
  std::unique_ptr<Relay> relay(new Relay(std::move(*listener)));
  if (!relay->epoll_) return fail(Code::kResourceExhausted, "epoll: no descriptor is left");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kListener;
  BULKHEAD_CHECK(epoll_ctl(relay->fd(), EPOLL_CTL_ADD, relay->listener_->fd(), &event) == 0,
                 "epoll_ctl: errno {}", errno);
  return relay;
}

Relay::Relay(std::unique_ptr<transport::Listener> listener)
    : listener_(std::move(listener)), epoll_(epoll_create1(EPOLL_CLOEXEC)) {}

void Relay::take() {
  look();
  pending_ = false;
  for (auto& [id, end] : ends_) {
    if (std::exchange(end.ready, false) && !end.ended) read(end);
  }
  forget_ended();
  for (const auto& [id, end] : ends_) pending_ = pending_ || end.ready;
}

// Whatever happens at one end may let the other one go on.
void Relay::look() {
  std::array<epoll_event, 64> events{};
  const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
    if (id == kListener) {
      accept();
    } else if (const auto found = ends_.find(id); found != ends_.end()) {
      found->second.ready = true;
      if (End* const other = other_of(found->second)) other->ready = true;
    }
  }
}

void Relay::accept() {
  for (;;) {
    auto connection = listener_->accept();
    if (!connection) {
      // Who connected was turned away and says so itself.
      spdlog::warn("a channel's connection was turned away: {}", connection.error().text);
      continue;
    }
    if (*connection == nullptr) return;
    if (ends_.size() >= kMostEnds) continue;
    const std::uint64_t id = next_id_++;
    ends_.emplace(id, End{.watch = {epoll_.get(), id}, .connection = std::move(*connection)});
  }
}

Relay::End* Relay::other_of(const End& end) {
  const auto found = ends_.find(end.other);
  return found == ends_.end() ? nullptr : &found->second;
}

void Relay::join(End& end, std::string_view bytes) {
  const auto join = wire::decode_channel_join(bytes);
  end.ended = !join;
  if (!join) return;
  end.join = *join;
  for (auto& [id, other] : ends_) {
    const bool fits = other.join && other.other == 0 && !other.ended &&
                      other.join->attempt == join->attempt &&
                      other.join->channel == join->channel && other.join->sends != join->sends;
    if (!fits) continue;
    end.other = id;
    other.other = end.watch.id();
    other.ready = true;
    return;
  }
}

// Leaves it armed, or ready, or ended.
void Relay::read(End& end) {
  for (std::size_t i = 0; i < kMostAtOnce && !end.ended; ++i) {
    End* const other = other_of(end);
    if (end.held || end.closed) {
      // Nothing is taken from here meanwhile, so nobody is to say that there is something.
      if (other == nullptr || end.told || !hand_on(end, *other)) return end.watch.for_no_message();
      if (end.closed) return end.watch.for_no_message();
    }
    std::string_view bytes;
    switch (end.connection->receive(bytes)) {
      case Outcome::kDone:
        if (!end.join) {
          join(end, bytes);
          if (end.ended) return;
        } else if (other == nullptr || other->connection->send(bytes) == Outcome::kWait) {
          end.held.emplace(bytes);  // a loss is noticed by who receives from there
        }
        break;
      case Outcome::kWait: {
        if (other != nullptr) flush(end, *other);
        const auto signal = transport::prepare_to_wait(*end.connection, Side::kReceiver);
        if (!signal) break;
        return end.watch.for_message(*signal);
      }
      case Outcome::kClosed:
        end.closed = true;
        end.ended = !end.join;
        break;
      default:
        end.ended = true;
        return;
    }
  }
  if (End* const other = other_of(end)) flush(end, *other);
  end.ready = true;
}

// What is held, and that nothing follows. False: there is no room yet.
bool Relay::hand_on(End& end, End& other) {
  Outcome outcome = Outcome::kDone;
  if (end.held) outcome = other.connection->send(*end.held);
  if (outcome != Outcome::kWait) end.held.reset();
  if (outcome != Outcome::kWait && end.closed) outcome = other.connection->close();
  if (outcome != Outcome::kWait) {
    other.watch.for_no_room();
    end.told = end.closed;
    return true;
  }
  if (const auto signal = transport::prepare_to_wait(*other.connection, Side::kSender)) {
    other.watch.for_room(*signal);
  } else {
    end.ready = true;
  }
  return false;
}

// What was sent leaves; where there is no room for it, when there is.
void Relay::flush(End& from, End& to) {
  if (to.connection->flush() != Outcome::kWait) return to.watch.for_no_room();
  if (const auto signal = transport::prepare_to_wait(*to.connection, Side::kSender)) {
    to.watch.for_room(*signal);
  } else {
    from.ready = true;
  }
}

// One that is gone takes its other end along: that end's worker loses its peer.
void Relay::forget_ended() {
  for (auto& [id, end] : ends_) {
    if (!end.ended) continue;
    if (End* const other = other_of(end)) other->ended = true;
  }
  std::erase_if(ends_, [](const auto& entry) { return entry.second.ended; });
}

}  // namespace bulkhead::coordinator
