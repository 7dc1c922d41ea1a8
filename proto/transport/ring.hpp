// A stream of bytes from one writer to one reader in memory that both have mapped; neither trusts
// the other.
//
// Layout of one ring (proto/README.md has it byte by byte): a page of control words, each on a
// cache line of its own, then the bytes, a power of two of them, mapped twice in a row, so that
// what wraps around is contiguous all the same.
//
// Each side keeps its own position in private memory and only ever publishes it; it reads the other
// side's once, copies it, and checks it: a position that goes back, or further than it can, is a
// peer that scribbles, and the end of the connection. What is read is copied out before anything in
// it is looked at, so nothing can change behind a check.
//
// Orders. Bytes before `written`: the writer's release store pairs with the reader's acquire load;
// `taken` likewise the other way, so bytes are overwritten only after they were copied out. Sleep:
// who will sleep stores its flag, then a full fence, then looks at the other's position; who
// publishes stores the position, then a full fence, then looks at the flag. One of the two sees the
// other. Whoever takes the flag away (exchange) owes the wake-up.
#pragma once

#include <algorithm>
#include <atomic>
#include <bulkhead/base/error.hpp>
#include <bulkhead/base/full_fence.hpp>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <utility>

namespace bulkhead::transport {

struct RingControl {
  alignas(64) std::atomic<std::uint64_t> written;
  alignas(64) std::atomic<std::uint64_t> taken;
  alignas(64) std::atomic<std::uint32_t> reader_sleeps;
  alignas(64) std::atomic<std::uint32_t> writer_sleeps;
};
static_assert(std::atomic<std::uint64_t>::is_always_lock_free);
static_assert(std::atomic<std::uint32_t>::is_always_lock_free);
static_assert(sizeof(RingControl) == 256);

// Memory of `rings` rings: one control page each, then the bytes of each, mapped twice.
class RingMemory {
 public:
  // `capacity`: a power of two, of whole pages. kResourceExhausted: no memory, no descriptor.
  static Result<RingMemory> create(std::size_t rings, std::size_t capacity);
  // What a peer has sent: kProtocolError unless it is a memfd of the right size that can neither
  // shrink nor grow.
  static Result<RingMemory> map(int memfd, std::size_t rings, std::size_t capacity);

  RingMemory() = default;
  RingMemory(RingMemory&& other) noexcept
      : address_(std::exchange(other.address_, nullptr)),
        length_(other.length_),
        rings_(other.rings_),
        capacity_(other.capacity_),
        memfd_(std::exchange(other.memfd_, -1)) {}
  RingMemory& operator=(RingMemory&& other) noexcept {
    std::swap(address_, other.address_);
    std::swap(length_, other.length_);
    std::swap(rings_, other.rings_);
    std::swap(capacity_, other.capacity_);
    std::swap(memfd_, other.memfd_);
    return *this;
  }
  ~RingMemory();

  RingControl& control(std::size_t ring) const;
  char* bytes(std::size_t ring) const;
  std::size_t capacity() const { return capacity_; }
  // To be sent to the peer; closed by close_memfd(), the mapping stays.
  int memfd() const { return memfd_; }
  void close_memfd();

 private:
  char* address_ = nullptr;
  std::size_t length_ = 0;
  std::size_t rings_ = 0;
  std::size_t capacity_ = 0;
  int memfd_ = -1;
};

// The writer's end.
class RingWriter {
 public:
  RingWriter(RingControl& control, char* bytes, std::size_t capacity)
      : control_(control), bytes_(bytes), capacity_(capacity) {}

  // Room for `size` bytes, contiguous; nullptr: not now, or (broken()) never.
  char* reserve(std::size_t size) {
    if (capacity_ - (position_ - taken_) < size && !look(size)) return nullptr;
    return bytes_ + (position_ & (capacity_ - 1));
  }
  void commit(std::size_t size) { position_ += size; }
  // As much as there is room for.
  std::size_t write(const char* from, std::size_t size) {
    std::size_t room = capacity_ - (position_ - taken_);
    if (room < size) {
      static_cast<void>(look(size));
      if (broken()) return 0;
      room = capacity_ - (position_ - taken_);
    }
    const std::size_t now = std::min(room, size);
    std::memcpy(bytes_ + (position_ & (capacity_ - 1)), from, now);
    position_ += now;
    return now;
  }
  std::size_t unpublished() const { return position_ - published_; }
  // True: the reader sleeps and is to be woken.
  bool publish() {
    if (position_ == published_) return false;
    published_ = position_;
    control_.written.store(position_, std::memory_order_release);
    base::full_fence();
    return control_.reader_sleeps.load(std::memory_order_relaxed) != 0 &&
           control_.reader_sleeps.exchange(0, std::memory_order_relaxed) != 0;
  }
  // True: there is no room for a byte, and the reader will see that we sleep.
  bool prepare_to_sleep() {
    control_.writer_sleeps.store(1, std::memory_order_relaxed);
    base::full_fence();
    if (!look(wanted()) && !broken()) return true;
    control_.writer_sleeps.store(0, std::memory_order_relaxed);
    return false;
  }
  bool broken() const { return broken_.load(std::memory_order_relaxed); }

 private:
  // A writer that waits is told when a good part is free, and not for each byte.
  std::size_t wanted() const { return capacity_ / 4; }
  bool look(std::size_t size) {
    const std::uint64_t taken = control_.taken.load(std::memory_order_acquire);
    if (position_ - taken > position_ - taken_) {
      broken_.store(true, std::memory_order_relaxed);
      return false;
    }
    taken_ = taken;
    return capacity_ - (position_ - taken_) >= size;
  }

  RingControl& control_;
  char* const bytes_;
  const std::size_t capacity_;
  std::uint64_t position_ = 0;
  std::uint64_t published_ = 0;
  std::uint64_t taken_ = 0;
  std::atomic<bool> broken_{false};  // relaxed: it is also asked why by others
};

// The reader's end.
class RingReader {
 public:
  RingReader(RingControl& control, const char* bytes, std::size_t capacity)
      : control_(control), bytes_(bytes), capacity_(capacity) {}

  // Copies out what is there, at most `size`. 0: nothing, or broken().
  std::size_t read(char* to, std::size_t size) {
    if (written_ == position_ && !look()) return 0;
    const std::size_t now = std::min<std::size_t>(size, written_ - position_);
    std::memcpy(to, bytes_ + (position_ & (capacity_ - 1)), now);
    position_ += now;
    return now;
  }
  // Gives the room back of what was read. True: the writer sleeps and is to be woken.
  bool release() {
    control_.taken.store(position_, std::memory_order_release);
    base::full_fence();
    // Half of it free: waking the writer for less would cost more than it brings.
    if (control_.writer_sleeps.load(std::memory_order_relaxed) == 0) return false;
    const std::uint64_t written = control_.written.load(std::memory_order_acquire);
    if (written - position_ > capacity_ / 2) return false;
    return control_.writer_sleeps.exchange(0, std::memory_order_relaxed) != 0;
  }
  // True: there is nothing, and the writer will see that we sleep.
  bool prepare_to_sleep() {
    control_.reader_sleeps.store(1, std::memory_order_relaxed);
    base::full_fence();
    if (written_ == position_ && !look() && !broken()) return true;
    control_.reader_sleeps.store(0, std::memory_order_relaxed);
    return false;
  }
  bool broken() const { return broken_.load(std::memory_order_relaxed); }

 private:
  bool look() {
    const std::uint64_t written = control_.written.load(std::memory_order_acquire);
    if (written - position_ > capacity_ || written - position_ < written_ - position_) {
      broken_.store(true, std::memory_order_relaxed);
      return false;
    }
    written_ = written;
    return written_ != position_;
  }

  RingControl& control_;
  const char* const bytes_;
  const std::size_t capacity_;
  std::uint64_t position_ = 0;
  std::uint64_t written_ = 0;
  std::atomic<bool> broken_{false};  // relaxed: it is also asked why by others
};

}  // namespace bulkhead::transport
