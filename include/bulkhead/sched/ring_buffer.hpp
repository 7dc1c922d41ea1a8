// A queue in a ring that grows by doubling, up to what its owner puts in: at most 2^31 values. Not
// thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <new>
#include <type_traits>
#include <utility>

namespace bulkhead::sched {

template <class T>
class RingBuffer {
  static_assert(std::is_nothrow_move_constructible_v<T>);

 public:
  RingBuffer() = default;
  RingBuffer(const RingBuffer&) = delete;
  RingBuffer& operator=(const RingBuffer&) = delete;
  ~RingBuffer() {
    while (size_ > 0) pop_front();
    std::allocator<T>().deallocate(slots_, capacity_);
  }

  std::size_t size() const { return size_; }
  bool empty() const { return size_ == 0; }
  T& front() { return slots_[first_]; }
  void push_back(T&& value) {
    if (size_ == capacity_) grow();
    new (&slots_[(first_ + size_) & (capacity_ - 1)]) T(std::move(value));
    ++size_;
  }
  void pop_front() {
    slots_[first_].~T();
    first_ = (first_ + 1) & (capacity_ - 1);
    --size_;
  }

 private:
  // Without memory it ends the process: it is called with a lock held that nobody would release.
  void grow() noexcept {
    const std::uint32_t capacity = capacity_ == 0 ? 8 : 2 * capacity_;
    T* const slots = std::allocator<T>().allocate(capacity);
    for (std::uint32_t i = 0; i < size_; ++i) {
      const std::uint32_t at = (first_ + i) & (capacity_ - 1);
      new (&slots[i]) T(std::move(slots_[at]));
      slots_[at].~T();
    }
    std::allocator<T>().deallocate(slots_, capacity_);
    slots_ = slots;
    capacity_ = capacity;
    first_ = 0;
  }

  T* slots_ = nullptr;
  std::uint32_t capacity_ = 0;  // a power of two
  std::uint32_t first_ = 0;
  std::uint32_t size_ = 0;
};

}  // namespace bulkhead::sched
