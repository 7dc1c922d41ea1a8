// Words and how often they occur. Millions of occurrences meet it, so an occurrence allocates
// nothing: a new word costs a place in an arena, a known one a look into an open-addressing index.
#pragma once

#include <algorithm>
#include <array>
#include <bulkhead/base/check.hpp>
#include <bulkhead/program/codec.hpp>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace bulkhead::program {

// Not for several threads at once. Words keep the order of their first occurrence. The index is
// rebuilt when it is missing: after shrink(), and in a table that was decoded.
class WordTable {
 public:
  // A longer word is a programmer's error: see KeptWord.
  static constexpr std::size_t kLongestWord = 4096;

  std::size_t size() const { return entries_.size(); }
  std::string_view word(std::size_t i) const {
    const std::uint64_t place = entries_[i].place;
    return {arena_.data() + (place >> kLengthBits), place & kLengthMask};
  }
  std::uint64_t count(std::size_t i) const { return entries_[i].count; }

  void add(std::string_view word, std::uint64_t count) { add(word, count, tag_of(word)); }

  // All of `other`, whose words are spread over this index: without asking the memory for several
  // of them ahead, a large merge waits for each in turn.
  void merge(const WordTable& other) {
    constexpr std::size_t kAhead = 16;
    std::array<std::uint32_t, kAhead> tags;
    for (std::size_t begin = 0; begin < other.size(); begin += kAhead) {
      const std::size_t some = std::min(kAhead, other.size() - begin);
      make_room(some);
      for (std::size_t i = 0; i < some; ++i) {
        tags[i] = tag_of(other.word(begin + i));
        __builtin_prefetch(&slots_[tags[i] & mask_]);
      }
      for (std::size_t i = 0; i < some; ++i)
        add(other.word(begin + i), other.count(begin + i), tags[i]);
    }
  }

  // Gives back what only add() needs; for a table that is kept.
  void shrink() {
    slots_ = {};
    entries_.shrink_to_fit();
    arena_.shrink_to_fit();
  }

 private:
  friend struct Codec<WordTable>;

  static constexpr unsigned kLengthBits = 16;
  static constexpr std::uint64_t kLengthMask = (1U << kLengthBits) - 1;
  static constexpr std::size_t kFirstSlots = 1024;
  static_assert(kLongestWord <= kLengthMask);

  struct Entry {
    std::uint64_t count = 0;
    std::uint64_t place = 0;  // offset in the arena, then length
  };

  // A slot is 0 (free) or tag << 32 | index + 1; its home is the low bits of its tag, so that
  // growing needs no look at the words.
  void add(std::string_view word, std::uint64_t count, std::uint32_t tag) {
    make_room(1);
    for (std::size_t at = tag & mask_;; at = (at + 1) & mask_) {
      const std::uint64_t slot = slots_[at];
      if (slot == 0) {
        append(word, count);
        slots_[at] = std::uint64_t{tag} << 32 | entries_.size();
        return;
      }
      if (slot >> 32 != tag) continue;
      Entry& entry = entries_[(slot & 0xffffffff) - 1];
      if ((entry.place & kLengthMask) != word.size()) continue;
      if (std::memcmp(arena_.data() + (entry.place >> kLengthBits), word.data(), word.size()) != 0)
        continue;
      entry.count += count;
      return;
    }
  }

  void append(std::string_view word, std::uint64_t count) {
    BULKHEAD_CHECK(!word.empty() && word.size() <= kLongestWord, "a word of {} bytes", word.size());
    BULKHEAD_CHECK(entries_.size() < 0xffffffff, "more distinct words than an index can number");
    entries_.push_back({count, std::uint64_t{arena_.size()} << kLengthBits | word.size()});
    arena_.insert(arena_.end(), word.begin(), word.end());
  }

  // At most half full, so that a search is short.
  void make_room(std::size_t more) {
    if ((entries_.size() + more) * 2 <= slots_.size()) return;
    std::size_t wanted = std::max(kFirstSlots, slots_.size() * 2);
    while (wanted < (entries_.size() + more) * 2) wanted *= 2;
    const std::vector<std::uint64_t> old =
        std::exchange(slots_, std::vector<std::uint64_t>(wanted));
    mask_ = wanted - 1;
    if (old.empty()) {
      for (std::size_t i = 0; i < entries_.size(); ++i)
        settle(std::uint64_t{tag_of(word(i))} << 32 | (i + 1));
    } else {
      for (const std::uint64_t slot : old)
        if (slot != 0) settle(slot);
    }
  }
  void settle(std::uint64_t slot) {
    std::size_t at = (slot >> 32) & mask_;
    while (slots_[at] != 0) at = (at + 1) & mask_;
    slots_[at] = slot;
  }

  template <class Number>
  static std::uint64_t load(const char* from) {
    Number number;
    std::memcpy(&number, from, sizeof number);
    return number;
  }
  static std::uint64_t fold(std::uint64_t a, std::uint64_t b) {
    __extension__ using Wide = unsigned __int128;
    const Wide product = Wide{a} * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  }
  // Lives in one process only: byte order and quality matter as little as an index needs.
  static std::uint32_t tag_of(std::string_view word) {
    constexpr std::uint64_t kFirst = 0x9e3779b97f4a7c15;
    constexpr std::uint64_t kSecond = 0xe7037ed1a0b428db;
    const char* from = word.data();
    std::size_t left = word.size();
    std::uint64_t state = kFirst ^ left;
    for (; left > 16; from += 16, left -= 16)
      state = fold(load<std::uint64_t>(from) ^ kSecond, load<std::uint64_t>(from + 8) ^ state);
    std::uint64_t a = 0;
    std::uint64_t b = 0;
    if (left >= 8) {
      a = load<std::uint64_t>(from);
      b = load<std::uint64_t>(from + left - 8);
    } else if (left >= 4) {
      a = load<std::uint32_t>(from);
      b = load<std::uint32_t>(from + left - 4);
    } else if (left > 0) {
      a = load<std::uint8_t>(from) << 16 | load<std::uint8_t>(from + left / 2) << 8 |
          load<std::uint8_t>(from + left - 1);
    }
    const std::uint64_t hash = fold(a ^ kSecond, b ^ state);
    return static_cast<std::uint32_t>(hash ^ hash >> 32);
  }

  std::vector<Entry> entries_;
  std::vector<char> arena_;
  std::vector<std::uint64_t> slots_;  // empty, or a power of two of them
  std::size_t mask_ = 0;              // slots_.size() - 1
};

// Not checked when read: that no word comes twice (it would be added up by merge()).
template <>
struct Codec<WordTable> {
  static void write(Writer& writer, const WordTable& table) {
    writer.reserve(table.arena_.size() + table.size() * 4 + 10);
    writer.varint(table.size());
    for (std::size_t i = 0; i < table.size(); ++i) {
      writer.string(table.word(i));
      writer.varint(table.count(i));
    }
  }
  static void read(Reader& reader, WordTable& table) {
    constexpr std::size_t kLeastBytes = 3;  // length, one character, count
    const std::size_t count = reader.count();
    if (count > reader.left() / kLeastBytes) return reader.refuse();
    table.entries_.reserve(count);
    table.arena_.reserve(reader.left() - 2 * count);
    for (std::size_t i = 0; i < count; ++i) {
      const std::string_view word = reader.string();
      const std::uint64_t occurrences = reader.varint();
      if (word.empty() || word.size() > WordTable::kLongestWord || occurrences == 0)
        return reader.refuse();
      table.append(word, occurrences);
    }
  }
};

}  // namespace bulkhead::program
