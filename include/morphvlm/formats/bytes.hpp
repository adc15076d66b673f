// Untrusted bytes: every count is checked against the bytes that are there before it is believed.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <limits>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

static_assert(std::endian::native == std::endian::little,
              "morphvlm: files are read in place, so a little-endian machine is needed");

/// a * b, or nothing where that does not fit into 63 bits.
inline std::optional<std::int64_t> checked_product(std::int64_t a, std::int64_t b) {
  if (a < 0 || b < 0) return std::nullopt;
  if (b != 0 && a > std::numeric_limits<std::int64_t>::max() / b) return std::nullopt;
  return a * b;
}

/// Number of elements of a shape; nothing where a dimension is negative, or where the product (with empty
/// dimensions taken as 1, because strides are such products) does not fit into 63 bits.
inline std::optional<std::int64_t> checked_numel(std::span<const std::int64_t> shape) {
  std::optional<std::int64_t> product = 1;
  bool empty = false;
  for (std::int64_t dim : shape) {
    empty |= dim == 0;
    if (product) product = checked_product(*product, dim == 0 ? 1 : dim);
  }
  if (product && empty) return 0;
  return product;
}

/// A cursor over little-endian bytes. Reading beyond the end is an Error that says what was to be read.
struct ByteReader {
  std::span<std::byte> bytes;  ///< all there are; whoever made the reader keeps them alive
  std::string where;           ///< the file, leads every message
  std::size_t at = 0;          ///< position of the next byte

  /// Bytes not read yet.
  std::size_t remaining() const { return bytes.size() - at; }

  /// The next `count` bytes.
  std::span<std::byte> take(std::uint64_t count, std::string_view what) {
    expect(count <= remaining(), where, ": truncated: ", what, " at byte ", at, " needs ", count,
           " bytes, the file has ", remaining(), " left");
    const auto taken = bytes.subspan(at, static_cast<std::size_t>(count));
    at += taken.size();
    return taken;
  }

  /// The next number.
  template <class T>
  T read(std::string_view what) {
    T value;
    std::memcpy(&value, take(sizeof(T), what).data(), sizeof(T));
    return value;
  }
};

}  // namespace morphvlm
