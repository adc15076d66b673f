// Attention with linear biases (Press et al. 2022) as MPT computes it.
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include <bit>
#include <cstdint>
#include <limits>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// One slope for each head, float [heads]: 2^-(h * bias_max / n) for h = 1..n, n the power of two that is not
/// below `heads`; where they differ, the even-numbered slopes come first and the rest is cut off.
inline Tensor alibi_slopes(std::int64_t heads, double bias_max, const at::Device& device) {
  const auto n = static_cast<std::int64_t>(std::bit_ceil(static_cast<std::uint64_t>(heads)));
  const auto options = TensorOptions(at::kFloat).device(device);
  const Tensor exponent = at::arange(1, n + 1, options).mul(bias_max / static_cast<double>(n));
  Tensor slopes = at::pow(2, exponent).reciprocal();
  if (n == heads) return slopes;
  return at::cat({slopes.slice(0, 1, n, 2), slopes.slice(0, 0, n, 2)}).slice(0, 0, heads);
}

/// -slope * |distance of query and key|, with -inf where `mask` (bool, see causal_mask; may be undefined)
/// forbids attention: float [batch or 1, heads, time, keys], to be added to the scores, for queries at
/// positions `place` [time]. MPT subtracts distances to the last key instead, which softmax cannot tell
/// apart; but those grow with the text for near keys too, and 16 bits would round away what tells these from
/// each other.
inline Tensor alibi_mask(const Tensor& mask, const Tensor& place, std::int64_t keys, const Tensor& slopes) {
  const Tensor query = place.to(slopes.scalar_type()).unsqueeze(-1);
  const Tensor distance = at::arange(keys, slopes.options()).sub(query).abs();
  Tensor bias = slopes.neg().view({1, -1, 1, 1}).mul(distance);
  if (!mask.defined()) return bias;
  return bias.masked_fill(mask.logical_not(), -std::numeric_limits<double>::infinity());
}

/// alibi_mask of queries that are the last `time` of `keys` positions.
inline Tensor alibi_mask(const Tensor& mask, std::int64_t time, std::int64_t keys, const Tensor& slopes) {
  return alibi_mask(mask, at::arange(keys - time, keys, slopes.options()), keys, slopes);
}

}  // namespace morphvlm
