#include "data_plane.hpp"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <array>
#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <iterator>
#include <optional>
#include <utility>
#include <variant>

namespace bulkhead::coordinator {
namespace {

using transport::Outcome;
using transport::Side;

constexpr std::uint64_t kListener = 0;
// From one at a time, so that the others, and exits and signals, get their turn.
constexpr std::size_t kMostAtOnce = 1024;
// Of results, before whoever keeps them, perhaps on the disk, gets them.
constexpr std::size_t kMostGathered = 1u << 20;
// More than one can have sent that is dead: what still writes there is a stray.
constexpr std::size_t kMostOfADead = 1u << 20;
constexpr std::size_t kMostPeers = 4096;

}  // namespace

Result<std::unique_ptr<DataPlane>> DataPlane::open(transport::Kind kind,
                                                   const std::string& directory,
                                                   const std::string& name,
                                                   const std::string& token,
                                                   std::uint32_t cost_stride, Events& events) {
  transport::ConnectionOptions options;
  options.max_message_bytes = wire::kMaxMessageBytes;
  options.token = token;
  options.window_bytes = transport::bulk_window_bytes(kind);
  auto listener = transport::Listener::listen(kind, directory, name, options);
  if (!listener) return fail(std::move(listener.error()));
  std::unique_ptr<DataPlane> plane(new DataPlane(std::move(*listener), cost_stride, events));
  if (!plane->epoll_) return fail(Code::kResourceExhausted, "epoll: no descriptor is left");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kListener;
  BULKHEAD_CHECK(epoll_ctl(plane->epoll_.get(), EPOLL_CTL_ADD, plane->listener_->fd(), &event) == 0,
                 "epoll_ctl: errno {}", errno);
  return plane;
}

DataPlane::DataPlane(std::unique_ptr<transport::Listener> listener, std::uint32_t cost_stride,
                     Events& events)
    : listener_(std::move(listener)),
      events_(events),
      epoll_(epoll_create1(EPOLL_CLOEXEC)),
      log_(cost_stride) {}

void DataPlane::take() {
  times_.woke = wire::CrossingLog::now();
  look();
  pending_ = false;
  for (auto& [id, peer] : peers_) {
    if (std::exchange(peer.ready, false)) {
      if (peer.dirty) pump(peer);
      read(peer, kMostAtOnce);
    }
    pending_ = pending_ || peer.ready;
  }
  forget_ended();
}

void DataPlane::look() {
  std::array<epoll_event, 64> events{};
  const int count = epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), 0);
  for (int i = 0; i < count; ++i) {
    const std::uint64_t id = events[static_cast<std::size_t>(i)].data.u64;
    if (id == kListener) {
      accept();
    } else if (const auto found = peers_.find(id); found != peers_.end()) {
      found->second.ready = true;
    }
  }
}

void DataPlane::accept() {
  for (;;) {
    auto connection = listener_->accept();
    if (!connection) {
      // Who connected was turned away and says so itself.
      spdlog::warn("a data connection was turned away: {}", connection.error().text);
      continue;
    }
    if (*connection == nullptr) return;
    if (peers_.size() >= kMostPeers) continue;
    const std::uint64_t id = next_id_++;
    peers_.emplace(id, Peer{.watch = {epoll_.get(), id}, .connection = std::move(*connection)});
  }
}

void DataPlane::drain(WorkerKey key) {
  look();
  if (const auto found = by_key_.find(key); found != by_key_.end())
    read(peers_.at(found->second), kMostOfADead);
  forget_ended();
}

void DataPlane::forget_ended() {
  for (auto peer = peers_.begin(); peer != peers_.end();) {
    const bool ended = peer->second.ended;
    if (ended && peer->second.joined) by_key_.erase(peer->second.key);
    peer = ended ? peers_.erase(peer) : std::next(peer);
  }
}

// Leaves it armed, or ready, or ended.
void DataPlane::read(Peer& peer, std::size_t most) {
  Results results;
  for (std::size_t i = 0; i < most && !peer.ended; ++i) {
    std::string_view bytes;
    switch (peer.connection->receive(bytes)) {
      case Outcome::kDone:
        ++messages_;
        bytes_ += bytes.size();
        deliver(peer, bytes, results);
        break;
      case Outcome::kWait: {
        hand_over(peer, results);
        const auto signal = transport::prepare_to_wait(*peer.connection, Side::kReceiver);
        if (!signal) break;
        return peer.watch.for_message(*signal);
      }
      case Outcome::kClosed:
        hand_over(peer, results);
        return end(peer, "", true);
      default:
        hand_over(peer, results);
        return end(peer, peer.connection->broken(), false);
    }
  }
  hand_over(peer, results);
  peer.ready = !peer.ended;
}

void DataPlane::deliver(Peer& peer, std::string_view bytes, Results& results) {
  const auto message = wire::decode_data(bytes);
  const auto* const join = message ? std::get_if<wire::JoinMessage>(&*message) : nullptr;
  if (!peer.joined) {
    // Nothing is believed before the token has been seen.
    peer.joined = join != nullptr && events_.data_joined(*join);
    peer.ended = !peer.joined;
    if (peer.joined) {
      peer.key = {join->identity.worker, join->identity.incarnation};
      by_key_[peer.key] = peer.watch.id();
    }
    return;
  }
  if (!message) return end(peer, message.error().text, false);
  if (const auto* result = std::get_if<wire::ResultMessage>(&*message)) {
    take_result(results, *result);
    results.bytes += bytes.size();
    if (results.bytes >= kMostGathered) hand_over(peer, results);
    return;
  }
  hand_over(peer, results);
  const auto* const other = std::get_if<wire::ProtobufMessage>(&*message);
  if (other == nullptr) return end(peer, "a message that no worker sends", false);
  auto decoded = wire::decode_to_coordinator(other->bytes);
  if (!decoded) return end(peer, decoded.error().text, false);
  events_.data_message(peer.key, std::move(*decoded));
}

void DataPlane::take_result(Results& results, const wire::ResultMessage& result) {
  const bool looked_at = log_.looks_at(result.index);
  const std::uint64_t got = looked_at ? wire::CrossingLog::now() : 0;
  v1::ResultBatch& batch = *results.message.mutable_results();
  batch.set_request(batch.request() + result.credit);
  wire::fill(*batch.add_results(), result);
  if (!looked_at) return;
  v1::CrossingSample& sample = log_.at(wire::kFromWorker, result.index);
  times_.fill(sample, got);
  sample.set_taken(got);
  sample.set_decoded(wire::CrossingLog::now());
}

void DataPlane::hand_over(Peer& peer, Results& results) {
  if (!results.message.has_results()) return;
  events_.data_message(peer.key, std::move(results.message));
  results.message.Clear();
  results.bytes = 0;
}

void DataPlane::end(Peer& peer, const std::string& why, bool closed) {
  peer.ended = true;
  if (!peer.joined) return;
  if (closed) {
    events_.data_closed(peer.key);
  } else {
    events_.data_lost(peer.key, why);
  }
}

void DataPlane::send(WorkerKey key, const v1::ToWorker& message) {
  Peer& peer = peers_.at(by_key_.at(key));
  peer.dirty = true;
  if (!message.has_jobs()) return push_whole(peer, message);
  v1::ToWorker special;  // those jobs that a fault is planned for
  for (const v1::Job& job : message.jobs().jobs()) {
    if (job.has_fault()) {
      *special.mutable_jobs()->add_jobs() = job;
      continue;
    }
    push_job(peer, job);
  }
  if (special.has_jobs()) push_whole(peer, special);
}

void DataPlane::push_job(Peer& peer, const v1::Job& job) {
  const bool looked_at = log_.looks_at(job.index());
  const std::uint64_t begin = looked_at ? wire::CrossingLog::now() : 0;
  wire::encode(wire::JobMessage{job.index(), job.input()}, scratch_);
  const std::uint64_t encoded = looked_at ? wire::CrossingLog::now() : 0;
  push(peer);
  if (!looked_at) return;
  v1::CrossingSample& sample = log_.at(wire::kToWorker, job.index());
  sample.set_encode_begin(begin);
  sample.set_encode_end(encoded);
  sample.set_copied(wire::CrossingLog::now());
  peer.looked_at.push_back(job.index());
}

// All that was sent has left by the flush that began then.
void DataPlane::note_flush(Peer& peer, std::uint64_t begin) {
  const std::uint32_t batch = std::exchange(peer.batch, 0);
  if (peer.looked_at.empty()) return;
  const std::uint64_t end = wire::CrossingLog::now();
  for (const std::uint64_t job : std::exchange(peer.looked_at, {})) {
    v1::CrossingSample* const sample = log_.find(wire::kToWorker, job);
    if (sample == nullptr) continue;
    sample->set_flush_begin(begin);
    sample->set_flush_end(end);
    sample->set_batch(batch);
  }
}

void DataPlane::push_whole(Peer& peer, const v1::ToWorker& message) {
  const auto encoded = wire::encode(message, scratch_);
  // Inputs and results came in messages of such a size.
  BULKHEAD_CHECK(encoded.has_value(), "{}", encoded.error().text);
  push(peer);
}

// What is in `scratch_`.
void DataPlane::push(Peer& peer) {
  ++messages_;
  ++peer.batch;
  bytes_ += scratch_.size();
  // A loss is noticed by who receives.
  if (peer.backlog.empty() && peer.connection->send(scratch_) != Outcome::kWait) return;
  peer.backlog.push_back(scratch_);
}

void DataPlane::flush() {
  for (auto& [id, peer] : peers_) {
    if (peer.dirty && !peer.watch.waits_for_room()) pump(peer);
    pending_ = pending_ || peer.ready;
  }
}

// Until all has left, or there is no room.
void DataPlane::pump(Peer& peer) {
  for (std::size_t i = 0; i < kMostAtOnce; ++i) {
    Outcome outcome = Outcome::kDone;
    while (!peer.backlog.empty() && outcome == Outcome::kDone) {
      outcome = peer.connection->send(peer.backlog.front());
      if (outcome != Outcome::kWait) peer.backlog.pop_front();
    }
    const std::uint64_t begin = peer.looked_at.empty() ? 0 : wire::CrossingLog::now();
    if (outcome == Outcome::kDone) outcome = peer.connection->flush();
    if (outcome != Outcome::kWait) {  // a loss is noticed by who receives
      note_flush(peer, begin);
      peer.backlog.clear();
      peer.dirty = false;
      return peer.watch.for_no_room();
    }
    if (const auto signal = transport::prepare_to_wait(*peer.connection, Side::kSender))
      return peer.watch.for_room(*signal);
  }
  peer.ready = true;
}

}  // namespace bulkhead::coordinator
