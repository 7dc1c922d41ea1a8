#include <algorithm>
#include <bulkhead/wire/crash_page.hpp>
#include <cstring>

namespace bulkhead::wire {

void keep_result(CrashPage& page, std::string_view encoded) {
  if (encoded.empty() || encoded.size() > kKeptBytes) return;
  // Relaxed: it only spreads writers over the ring.
  const std::uint64_t turn = page.kept_next.fetch_add(1, std::memory_order_relaxed);
  KeptResult& kept = page.kept[turn % kKeptResults];
  // Taken already where a writer was overtaken by a whole round; acquire pairs with the release
  // that gave it back. Then this result is not kept, which is no fault.
  if (kept.busy.exchange(1, std::memory_order_acquire) != 0) return;
  // A death in the middle must leave nothing that looks whole: the release fence keeps the bytes
  // after this store.
  kept.size.store(0, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_release);
  std::memcpy(kept.bytes.data(), encoded.data(), encoded.size());
  kept.size.store(static_cast<std::uint32_t>(encoded.size()),
                  std::memory_order_release);  // pairs with kept_results()
  kept.busy.store(0, std::memory_order_release);
  page.kept_count.fetch_add(1, std::memory_order_release);  // pairs with snapshot()
}

std::vector<std::string> kept_results(const CrashPage& page) {
  std::vector<std::string> results;
  for (const KeptResult& kept : page.kept) {
    // Acquire pairs with the release of the size: its bytes are there.
    const std::size_t size =
        std::min<std::size_t>(kept.size.load(std::memory_order_acquire), kKeptBytes);
    if (size > 0) results.emplace_back(kept.bytes.data(), size);
  }
  return results;
}

}  // namespace bulkhead::wire
