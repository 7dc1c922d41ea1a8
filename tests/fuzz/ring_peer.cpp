// What a hostile peer does with the memory that it shares with us, step by step between calls of
// ours: those answer with messages, a wait or a loss, within their own memory, and a loss is for
// ever. (What it does during a call: ScribblerTest.)
#include <fuzzer/FuzzedDataProvider.h>
#include <sys/socket.h>

#include <algorithm>
#include <bulkhead/base/check.hpp>
#include <bulkhead/base/unique_fd.hpp>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "proto/transport/shm.hpp"

namespace bulkhead::transport {
namespace {

constexpr std::size_t kWindow = 64u << 10;
constexpr std::size_t kMostBytes = 3000;

class NoWaker final : public Waker {
 public:
  void wake() override { BULKHEAD_CHECK(false, "shared memory told a waker"); }
};

class Pair {
 public:
  Pair() {
    int sockets[2];
    BULKHEAD_CHECK(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sockets) == 0, "");
    socket_ = base::UniqueFd(sockets[0]);
    auto offer = make_shm_offer(kWindow);
    BULKHEAD_CHECK(offer.has_value(), "no shared memory");
    memory_ = offer->memory;
    auto ours = make_shm_connection(
        std::move(*offer), End::kAcceptor, base::UniqueFd(sockets[1]),
        {.max_message_bytes = kMostBytes, .window_bytes = kWindow, .token = {}});
    BULKHEAD_CHECK(ours.has_value(), "no connection");
    ours_ = std::move(*ours);
  }

  void step(FuzzedDataProvider& input) {
    switch (input.ConsumeIntegralInRange<int>(0, 11)) {
      case 0:
        in().written = position(input);
        break;
      case 1:
        out().taken = position(input);
        break;
      case 2:
        in().reader_sleeps = input.ConsumeIntegral<std::uint32_t>();
        out().writer_sleeps = input.ConsumeIntegral<std::uint32_t>();
        break;
      case 3:
        scribble(input);
        break;
      case 4:
        append(input);
        break;
      case 5:
        out().taken = out().written.load();
        break;
      case 6:
      case 7:
        receive();
        break;
      case 8:
        check_after_loss(
            ours_->send(std::string(input.ConsumeIntegralInRange<std::size_t>(0, 4000), 's')));
        break;
      case 9:
        check_after_loss(input.ConsumeBool() ? ours_->flush() : ours_->close());
        break;
      case 10:
        wait(input.ConsumeBool() ? Side::kSender : Side::kReceiver);
        break;
      default:
        if (input.ConsumeBool())
          static_cast<void>(::send(socket_.get(), "x", 1, MSG_DONTWAIT | MSG_NOSIGNAL));
        else
          socket_.reset();
    }
  }

 private:
  // Ours is the acceptor: it reads ring 0 and writes ring 1.
  RingControl& in() { return memory_->control(0); }
  RingControl& out() { return memory_->control(1); }

  std::uint64_t position(FuzzedDataProvider& input) {
    const std::uint64_t near = input.ConsumeIntegralInRange<std::uint64_t>(0, 2 * kWindow);
    switch (input.ConsumeIntegralInRange<int>(0, 3)) {
      case 0:
        return input.ConsumeIntegral<std::uint64_t>();
      case 1:
        return in().written + near;
      case 2:
        return out().taken + near;
      default:
        return near;
    }
  }
  void put(std::uint64_t at, std::string_view bytes) {
    std::memcpy(memory_->bytes(0) + at % memory_->capacity(), bytes.data(), bytes.size());
  }
  void scribble(FuzzedDataProvider& input) {
    const auto at = input.ConsumeIntegral<std::uint32_t>();
    put(at, input.ConsumeRandomLengthString(2000));
  }
  // A message as it should be.
  void append(FuzzedDataProvider& input) {
    std::string bytes(kHeaderBytes + input.ConsumeIntegralInRange<std::size_t>(0, 3100), 'm');
    put_header(bytes.data(), static_cast<std::uint32_t>(bytes.size() - kHeaderBytes));
    put(in().written, bytes);
    in().written += bytes.size();
  }

  void receive() {
    for (;;) {
      std::string_view message;
      const Outcome outcome = ours_->receive(message);
      if (outcome == Outcome::kDone) {
        BULKHEAD_CHECK(!over_, "a message after the end");
        BULKHEAD_CHECK(message.size() <= kMostBytes, "{} bytes", message.size());
        for (const char byte : message) sum_ += static_cast<unsigned char>(byte);
        continue;
      }
      BULKHEAD_CHECK(!over_ || outcome == end_, "the end is another one");
      BULKHEAD_CHECK(outcome != Outcome::kTooLarge, "too large to receive");
      over_ = outcome != Outcome::kWait;
      end_ = outcome;
      return;
    }
  }
  void check_after_loss(Outcome outcome) const {
    BULKHEAD_CHECK(!over_ || end_ != Outcome::kLost || outcome == Outcome::kLost ||
                       outcome == Outcome::kTooLarge,
                   "something is sent after a loss");
  }
  void wait(Side side) {
    NoWaker waker;
    const auto signal = ours_->prepare_to_wait(side, waker);
    BULKHEAD_CHECK(!signal || signal->fd >= 0, "nothing to wait for");
    static_cast<void>(ours_->cancel_wait(side));
  }

  std::shared_ptr<RingMemory> memory_;
  base::UniqueFd socket_;
  std::unique_ptr<Connection> ours_;
  bool over_ = false;
  Outcome end_ = Outcome::kWait;
  std::size_t sum_ = 0;  // that each byte is looked at
};

}  // namespace
}  // namespace bulkhead::transport

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  FuzzedDataProvider input(data, size);
  bulkhead::transport::Pair pair;
  while (input.remaining_bytes() > 0) pair.step(input);
  return 0;
}
