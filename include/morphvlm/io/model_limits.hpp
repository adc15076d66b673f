// How large a model a config may claim to be. Sizes are believed before a weight is read, so a file of some
// hundred bytes would else decide how much memory and time the model takes that is to receive them.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// Most layers of a part of a model: the largest have less than two hundred.
inline constexpr std::int64_t kMaxModelLayers = 1 << 10;
/// Largest width, number of heads or side of a picture: the largest are near 2^16. No tensor whose shape is
/// made of these overflows.
inline constexpr std::int64_t kMaxModelWidth = 1 << 18;
/// Largest vocabulary or length of a text: ten million tokens are the most that a model claims.
inline constexpr std::int64_t kMaxModelTokens = 1 << 24;
/// Most rows that a folder may add to its language model's vocabulary; each is memory that no file fills.
inline constexpr std::int64_t kMaxAddedRows = 1 << 16;

namespace detail {

inline std::int64_t expect_model_size(std::int64_t size, std::string_view key, const std::string& where,
                                      std::int64_t most = kMaxModelWidth) {
  expect(size > 0 && size <= most, where, ": ", key, ": expected 1 to ", most, ", found ", size);
  return size;
}

}  // namespace detail

}  // namespace morphvlm
