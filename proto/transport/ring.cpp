#include "proto/transport/ring.hpp"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bulkhead/base/check.hpp>
#include <cerrno>
#include <cstring>
#include <new>

namespace bulkhead::transport {
namespace {

constexpr std::size_t kControlBytes = 4096;
constexpr int kSeals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

std::size_t file_bytes(std::size_t rings, std::size_t capacity) {
  return rings * (kControlBytes + capacity);
}

tl::unexpected<Error> no_memory(const char* doing, std::size_t bytes) {
  return fail(Code::kResourceExhausted, "can't {} {} bytes of shared memory: {}", doing, bytes,
              std::strerror(errno));
}

}  // namespace

// The file holds control, bytes, control, bytes, …; in memory each ring's bytes follow once more.
Result<RingMemory> RingMemory::map(int memfd, std::size_t rings, std::size_t capacity) {
  BULKHEAD_CHECK(capacity % kControlBytes == 0 && (capacity & (capacity - 1)) == 0,
                 "a ring of {} bytes", capacity);
  struct stat status {};
  const int seals = ::fcntl(memfd, F_GET_SEALS);
  if (::fstat(memfd, &status) != 0 || seals < 0 || (seals & kSeals) != kSeals ||
      static_cast<std::size_t>(status.st_size) != file_bytes(rings, capacity)) {
    return fail(Code::kProtocolError,
                "the shared memory is none of {} bytes that can neither shrink nor grow",
                file_bytes(rings, capacity));
  }
  const std::size_t stride = kControlBytes + 2 * capacity;
  RingMemory memory;
  void* const reserved = ::mmap(nullptr, rings * stride, PROT_NONE,
                                MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (reserved == MAP_FAILED) return no_memory("map", rings * stride);
  memory.address_ = static_cast<char*>(reserved);
  memory.length_ = rings * stride;
  memory.rings_ = rings;
  memory.capacity_ = capacity;
  for (std::size_t ring = 0; ring < rings; ++ring) {
    const auto offset = static_cast<off_t>(ring * (kControlBytes + capacity));
    char* const at = memory.address_ + ring * stride;
    const int access = PROT_READ | PROT_WRITE;
    const auto bytes = offset + static_cast<off_t>(kControlBytes);
    if (::mmap(at, kControlBytes + capacity, access, MAP_SHARED | MAP_FIXED, memfd, offset) ==
            MAP_FAILED ||
        ::mmap(at + kControlBytes + capacity, capacity, access, MAP_SHARED | MAP_FIXED, memfd,
               bytes) == MAP_FAILED)
      return no_memory("map", rings * stride);
  }
  return memory;
}

Result<RingMemory> RingMemory::create(std::size_t rings, std::size_t capacity) {
  const std::size_t bytes = file_bytes(rings, capacity);
  const int memfd = ::memfd_create("bulkhead-ring", MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (memfd < 0) return no_memory("create", bytes);
  if (::ftruncate(memfd, static_cast<off_t>(bytes)) != 0 ||
      ::fcntl(memfd, F_ADD_SEALS, kSeals) != 0) {
    const auto error = no_memory("size", bytes);
    ::close(memfd);
    return error;
  }
  auto memory = map(memfd, rings, capacity);
  if (!memory) {
    ::close(memfd);
    return memory;
  }
  memory->memfd_ = memfd;
  return memory;
}

RingMemory::~RingMemory() {
  close_memfd();
  if (address_ != nullptr) ::munmap(address_, length_);
}

void RingMemory::close_memfd() {
  if (memfd_ >= 0) ::close(std::exchange(memfd_, -1));
}

RingControl& RingMemory::control(std::size_t ring) const {
  // The file is all zeroes at first, which is where both positions begin.
  return *std::launder(
      reinterpret_cast<RingControl*>(address_ + ring * (kControlBytes + 2 * capacity_)));
}

char* RingMemory::bytes(std::size_t ring) const {
  return address_ + ring * (kControlBytes + 2 * capacity_) + kControlBytes;
}

}  // namespace bulkhead::transport
