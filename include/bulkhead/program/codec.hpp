// Values to bytes and back: what lets a program's inputs and results cross a process.
//
//   struct Point {
//     std::int64_t x = 0;
//     std::vector<std::string> names;
//     BULKHEAD_FIELDS(x, names)  // all that a user's struct needs
//   };
//   std::string bytes = encode_value(point);
//   Result<Point> back = decode_value<Point>(bytes);
//
// Ready: bool, integers, enums, float, double, std::string, pair, tuple, array, optional, vector
// and all other standard containers of these. Anything else specialises Codec (see below).
//
// The form of the basic items is in byte_stream.hpp. Strings and containers stand behind their
// length, fields one after another with nothing between. Both ends are the same build, so nothing
// is tagged. One value has one form, hash containers aside: their order is their own.
//
// Decoding trusts nothing: every length is checked against the bytes that are left before anything
// is allocated, nesting is bounded, and bytes left over are an error.
#pragma once

#include <array>
#include <bulkhead/base/error.hpp>
#include <bulkhead/program/byte_stream.hpp>
#include <concepts>
#include <cstdint>
#include <cstring>
#include <exception>
#include <limits>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>
#include <vector>

// Inside a struct: names every field to encode, in order. At least one.
#define BULKHEAD_FIELDS(...)                               \
  auto bulkhead_fields() { return std::tie(__VA_ARGS__); } \
  auto bulkhead_fields() const { return std::tie(__VA_ARGS__); }

namespace bulkhead::program {

// To make a type of another shape codable, specialise:
//   template <>
//   struct bulkhead::program::Codec<Colour> {
//     static void write(Writer& writer, const Colour& value);
//     static void read(Reader& reader, Colour& value);  // reader.refuse() when it makes no sense
//   };
// write() must write at least one byte; read() gets a default-constructed value.
template <class T>
struct Codec;

template <class T>
void write(Writer& writer, const T& value) {
  Codec<T>::write(writer, value);
}
template <class T>
void read(Reader& reader, T& value) {
  Codec<T>::read(reader, value);
}

// `value` as bytes. Throws std::bad_alloc, and std::length_error beyond kMaxNesting.
template <class T>
std::string encode_value(const T& value) {
  Writer writer;
  write(writer, value);
  return writer.take();
}

// The value that `bytes` hold, all of them; kProtocolError otherwise. Never throws.
template <class T>
[[nodiscard]] Result<T> decode_value(std::string_view bytes) {
  try {
    Reader reader(bytes);
    T value{};
    read(reader, value);
    if (!reader.ok())
      return fail(Code::kProtocolError, "a value of {} bytes is malformed", bytes.size());
    if (reader.left() > 0)
      return fail(Code::kProtocolError, "a value of {} bytes has {} bytes left over", bytes.size(),
                  reader.left());
    return value;
  } catch (const std::bad_alloc&) {
    return fail(Code::kResourceExhausted, "no memory for a value of {} bytes", bytes.size());
  } catch (const std::exception& error) {  // a user's Codec or constructor
    return fail(Code::kProtocolError, "a value of {} bytes was refused: {}", bytes.size(),
                error.what());
  } catch (...) {
    return fail(Code::kProtocolError, "a value of {} bytes was refused", bytes.size());
  }
}

namespace detail {

template <class T>
concept Struct = requires(T& value) {
  value.bulkhead_fields();
};

template <class T>
concept Byte = std::same_as<T, char> || std::same_as<T, unsigned char> ||
    std::same_as<T, signed char> || std::same_as<T, std::byte>;

template <class T>
concept Associative = requires(T& value, typename T::key_type&& key) {
  value.find(key);
  value.size();
};

template <class T>
concept Sequence = !Associative<T> && requires(T & value, typename T::value_type&& item) {
  value.push_back(std::move(item));
  value.size();
};

// Whatever leaves a scope, its level ends.
template <class Stream>
class Level {
 public:
  explicit Level(Stream& stream) : stream_(stream) { stream_.enter(); }
  ~Level() { stream_.leave(); }
  Level(const Level&) = delete;
  Level& operator=(const Level&) = delete;

 private:
  Stream& stream_;
};

}  // namespace detail

template <>
struct Codec<bool> {
  static void write(Writer& writer, bool value) { writer.varint(value ? 1 : 0); }
  static void read(Reader& reader, bool& value) {
    const std::uint64_t number = reader.varint();
    if (number > 1) reader.refuse();
    value = number == 1;
  }
};

template <std::unsigned_integral T>
struct Codec<T> {
  static void write(Writer& writer, T value) { writer.varint(value); }
  static void read(Reader& reader, T& value) {
    const std::uint64_t number = reader.varint();
    if (number > std::numeric_limits<T>::max()) return reader.refuse();
    value = static_cast<T>(number);
  }
};

template <std::signed_integral T>
struct Codec<T> {
  static void write(Writer& writer, T value) { writer.zigzag(value); }
  static void read(Reader& reader, T& value) {
    const std::int64_t number = reader.zigzag();
    if (number < std::numeric_limits<T>::min() || number > std::numeric_limits<T>::max())
      return reader.refuse();
    value = static_cast<T>(number);
  }
};

// The number only: whether it names an enumerator is for the program to judge.
template <class T>
requires std::is_enum_v<T>
struct Codec<T> {
  using Number = std::underlying_type_t<T>;
  static void write(Writer& writer, T value) {
    Codec<Number>::write(writer, static_cast<Number>(value));
  }
  static void read(Reader& reader, T& value) {
    Number number{};
    Codec<Number>::read(reader, number);
    value = static_cast<T>(number);
  }
};

template <class T>
requires std::same_as<T, double> || std::same_as<T, float>
struct Codec<T> {
  static void write(Writer& writer, T value) { writer.real(value); }
  static void read(Reader& reader, T& value) { value = static_cast<T>(reader.real()); }
};

template <>
struct Codec<std::string> {
  static void write(Writer& writer, const std::string& value) { writer.string(value); }
  static void read(Reader& reader, std::string& value) { value = reader.string(); }
};

template <class T>
struct Codec<std::optional<T>> {
  static void write(Writer& writer, const std::optional<T>& value) {
    detail::Level level(writer);
    program::write(writer, value.has_value());
    if (value) program::write(writer, *value);
  }
  static void read(Reader& reader, std::optional<T>& value) {
    detail::Level level(reader);
    bool present = false;
    program::read(reader, present);
    if (present) program::read(reader, value.emplace());
  }
};

// Structs with BULKHEAD_FIELDS, pairs, tuples and arrays: their parts, one after another.
namespace detail {

template <class Parts>
void write_parts(Writer& writer, const Parts& parts) {
  Level level(writer);
  std::apply([&](const auto&... part) { (program::write(writer, part), ...); }, parts);
}
template <class Parts>
void read_parts(Reader& reader, Parts&& parts) {
  Level level(reader);
  std::apply([&](auto&... part) { ((reader.ok() ? program::read(reader, part) : void()), ...); },
             parts);
}

}  // namespace detail

template <detail::Struct T>
struct Codec<T> {
  static void write(Writer& writer, const T& value) {
    static_assert(std::tuple_size_v<decltype(value.bulkhead_fields())> > 0,
                  "BULKHEAD_FIELDS needs a field: a value of no bytes cannot be counted");
    detail::write_parts(writer, value.bulkhead_fields());
  }
  static void read(Reader& reader, T& value) {
    detail::read_parts(reader, value.bulkhead_fields());
  }
};

template <class A, class B>
struct Codec<std::pair<A, B>> {
  static void write(Writer& writer, const std::pair<A, B>& value) {
    detail::write_parts(writer, value);
  }
  static void read(Reader& reader, std::pair<A, B>& value) { detail::read_parts(reader, value); }
};

template <class A, class... More>
struct Codec<std::tuple<A, More...>> {
  static void write(Writer& writer, const std::tuple<A, More...>& value) {
    detail::write_parts(writer, value);
  }
  static void read(Reader& reader, std::tuple<A, More...>& value) {
    detail::read_parts(reader, value);
  }
};

template <class T, std::size_t N>
requires(N > 0) struct Codec<std::array<T, N>> {
  static void write(Writer& writer, const std::array<T, N>& value) {
    detail::Level level(writer);
    for (const T& item : value) program::write(writer, item);
  }
  static void read(Reader& reader, std::array<T, N>& value) {
    detail::Level level(reader);
    for (T& item : value)
      if (reader.ok()) program::read(reader, item);
  }
};

// Bytes are copied in one go.
template <detail::Byte T>
struct Codec<std::vector<T>> {
  static void write(Writer& writer, const std::vector<T>& value) {
    writer.string({reinterpret_cast<const char*>(value.data()), value.size()});
  }
  static void read(Reader& reader, std::vector<T>& value) {
    const std::string_view bytes = reader.string();
    value.resize(bytes.size());
    if (!bytes.empty()) std::memcpy(value.data(), bytes.data(), bytes.size());
  }
};

template <detail::Sequence T>
struct Codec<T> {
  using Item = typename T::value_type;
  static void write(Writer& writer, const T& value) {
    detail::Level level(writer);
    writer.varint(value.size());
    for (const Item& item : value) program::write(writer, item);
  }
  // Items are added as their bytes prove them: a lying count alone allocates nothing.
  static void read(Reader& reader, T& value) {
    detail::Level level(reader);
    for (std::size_t left = reader.count(); left > 0 && reader.ok(); --left) {
      Item item{};
      program::read(reader, item);
      if (reader.ok()) value.push_back(std::move(item));
    }
  }
};

// Maps and sets, ordered or hashed. A key that comes twice where only one may be is refused.
template <detail::Associative T>
requires(!detail::Struct<T> && !std::same_as<T, std::string>) struct Codec<T> {
  using Key = typename T::key_type;
  static constexpr bool kIsMap = requires { typename T::mapped_type; };

  static void write(Writer& writer, const T& value) {
    detail::Level level(writer);
    writer.varint(value.size());
    for (const auto& item : value) {
      if constexpr (kIsMap) {
        program::write(writer, item.first);
        program::write(writer, item.second);
      } else {
        program::write(writer, item);
      }
    }
  }
  static void read(Reader& reader, T& value) {
    detail::Level level(reader);
    const std::size_t count = reader.count();
    for (std::size_t i = 0; i < count && reader.ok(); ++i) {
      Key key{};
      program::read(reader, key);
      if constexpr (kIsMap) {
        typename T::mapped_type mapped{};
        if (reader.ok()) program::read(reader, mapped);
        if (reader.ok()) value.emplace(std::move(key), std::move(mapped));
      } else {
        if (reader.ok()) value.insert(std::move(key));
      }
      if (reader.ok() && value.size() != i + 1) reader.refuse();
    }
  }
};

}  // namespace bulkhead::program
