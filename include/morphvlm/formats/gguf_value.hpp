// Metadata values of a GGUF file: checked once when the file is opened, decoded when asked for.
#pragma once

#include <array>
#include <concepts>
#include <cstdint>
#include <limits>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/formats/bytes.hpp"

namespace morphvlm {

/// GGUF's numbers for the types of metadata values.
enum class GgufType : std::uint32_t { u8, i8, u16, i16, u32, i32, f32, boolean, text, array, u64, i64, f64 };

/// A metadata value: its type and its bytes in the file.
struct GgufValue {
  GgufType type = GgufType::u8;  ///< as the file states it
  /// Without the type; those of a text begin with its length, those of an array with its type and length.
  std::span<std::byte> bytes;
};

namespace detail {

inline constexpr int kMaxGgufDepth = 8;
inline constexpr std::array<std::string_view, 13> kGgufTypeNames = {
    "u8", "i8", "u16", "i16", "u32", "i32", "f32", "bool", "string", "array", "u64", "i64", "f64"};
// Bytes of a value; of a string or an array the least it takes.
inline constexpr std::array<std::uint64_t, 13> kGgufTypeSizes = {1, 1, 2, 2, 4, 4, 4, 1, 8, 12, 8, 8, 8};

inline std::string_view type_name(GgufType type) { return kGgufTypeNames[static_cast<std::size_t>(type)]; }
inline std::uint64_t type_size(GgufType type) { return kGgufTypeSizes[static_cast<std::size_t>(type)]; }

inline GgufType read_gguf_type(ByteReader& reader, std::string_view key) {
  const auto type = reader.read<std::uint32_t>("a value's type");
  expect(type < kGgufTypeNames.size(), reader.where, ": key \"", key, "\": unknown value type ", type);
  return static_cast<GgufType>(type);
}

inline std::string_view read_gguf_text(ByteReader& reader, std::string_view what) {
  const auto length = reader.read<std::uint64_t>(what);
  const auto text = reader.take(length, what);
  return {reinterpret_cast<const char*>(text.data()), text.size()};
}

inline std::uint64_t read_gguf_count(ByteReader& reader, std::uint64_t least_size, std::string_view what) {
  const auto count = reader.read<std::uint64_t>(what);
  expect(count <= reader.remaining() / least_size, reader.where, ": truncated: ", count, ' ', what,
         " cannot be in the ", reader.remaining(), " bytes that are left");
  return count;
}

// Passes over a value, checking all of it.
inline void skip_gguf_value(ByteReader& reader, GgufType type, std::string_view key, int depth = 0) {
  expect(depth <= kMaxGgufDepth, reader.where, ": key \"", key, "\": arrays nested deeper than ",
         kMaxGgufDepth);
  if (type == GgufType::text) {
    read_gguf_text(reader, "a string");
  } else if (type == GgufType::array) {
    const GgufType item = read_gguf_type(reader, key);
    const auto count = read_gguf_count(reader, type_size(item), "array elements");
    for (std::uint64_t i = 0; i < count; ++i) skip_gguf_value(reader, item, key, depth + 1);
  } else {
    const auto bytes = reader.take(type_size(type), "a value");
    expect(type != GgufType::boolean || bytes[0] <= std::byte{1}, reader.where, ": key \"", key,
           "\": a bool is neither 0 nor 1");
  }
}

template <class T>
inline constexpr bool is_list = false;
template <class T>
inline constexpr bool is_list<std::vector<T>> = true;

template <class T>
constexpr std::string_view wanted() {
  if constexpr (std::is_same_v<T, bool>)
    return "a bool";
  else if constexpr (std::integral<T>)
    return "an integer";
  else if constexpr (std::floating_point<T>)
    return "a float";
  else if constexpr (is_list<T>)
    return "an array";
  else
    return "a string";
}

template <class T, class Stored>
T narrow_gguf(Stored value, std::string_view where) {
  if constexpr (std::integral<T>) {
    expect(std::in_range<T>(value), where, ": ", +value, " does not fit the type asked for");
  }
  return static_cast<T>(value);
}

template <class T>
T decode_gguf(ByteReader& reader, GgufType type, const std::string& where) {
  auto wrong = [&]() { fail(where, ": expected ", wanted<T>(), ", found ", type_name(type)); };
  if constexpr (is_list<T>) {
    if (type != GgufType::array) wrong();
    const GgufType item = read_gguf_type(reader, where);
    const auto count = reader.read<std::uint64_t>("array");
    T list;
    list.reserve(static_cast<std::size_t>(count));
    for (std::uint64_t i = 0; i < count; ++i) {
      list.push_back(decode_gguf<typename T::value_type>(reader, item, where));
    }
    return list;
  } else if constexpr (std::is_same_v<T, bool>) {
    if (type != GgufType::boolean) wrong();
    return reader.read<std::uint8_t>("bool") != 0;
  } else if constexpr (std::integral<T>) {
    switch (type) {
      case GgufType::u8:
        return narrow_gguf<T>(reader.read<std::uint8_t>("u8"), where);
      case GgufType::i8:
        return narrow_gguf<T>(reader.read<std::int8_t>("i8"), where);
      case GgufType::u16:
        return narrow_gguf<T>(reader.read<std::uint16_t>("u16"), where);
      case GgufType::i16:
        return narrow_gguf<T>(reader.read<std::int16_t>("i16"), where);
      case GgufType::u32:
        return narrow_gguf<T>(reader.read<std::uint32_t>("u32"), where);
      case GgufType::i32:
        return narrow_gguf<T>(reader.read<std::int32_t>("i32"), where);
      case GgufType::u64:
        return narrow_gguf<T>(reader.read<std::uint64_t>("u64"), where);
      case GgufType::i64:
        return narrow_gguf<T>(reader.read<std::int64_t>("i64"), where);
      default:
        wrong();
    }
  } else if constexpr (std::floating_point<T>) {
    if (type == GgufType::f32) return static_cast<T>(reader.read<float>("f32"));
    if (type != GgufType::f64) wrong();
    return static_cast<T>(reader.read<double>("f64"));
  } else {
    static_assert(
        std::is_same_v<T, std::string> || std::is_same_v<T, std::string_view>,
        "morphvlm: GGUF metadata is read as bool, a number, std::string(_view) or a std::vector of those");
    if (type != GgufType::text) wrong();
    return T(read_gguf_text(reader, "string"));
  }
  fail(where, ": unreachable");
}

}  // namespace detail

/// The value as T: bool, an integer (any stored integer type whose value fits), float or double, std::string,
/// std::string_view (into the mapped file) or a std::vector of those, nested as the arrays are. Another type
/// is an Error led by `where`.
template <class T>
T decode(const GgufValue& value, const std::string& where) {
  ByteReader reader{value.bytes, where};
  return detail::decode_gguf<T>(reader, value.type, where);
}

}  // namespace morphvlm
