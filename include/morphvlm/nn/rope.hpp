// Rotary position embedding, rotate-half form (Su et al. 2021; HF's LlamaRotaryEmbedding).
#pragma once

#include <ATen/ops/arange.h>
#include <ATen/ops/cat.h>
#include <ATen/ops/pow.h>

#include <cstdint>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Cosines and sines of a run of positions, computed once per forward pass and shared by all layers.
struct RopeTable {
  Tensor cos = {};  ///< [batch or 1, 1, time, head_dim]
  Tensor sin = {};  ///< the same
};

/// The table for `positions` (int64 [batch or 1, time]); angle of pair i is position * theta^(-2i/head_dim).
/// Angles are computed in fp32 (fp64 for fp64 activations) and rounded to `dtype` last.
inline RopeTable rope_table(const Tensor& positions, std::int64_t head_dim, double theta,
                            at::ScalarType dtype) {
  const auto precise = positions.options().dtype(dtype == at::kDouble ? at::kDouble : at::kFloat);
  const Tensor exponent = at::arange(0, head_dim, 2, precise).div(static_cast<double>(head_dim));
  const Tensor frequency = at::pow(theta, exponent).reciprocal();
  const Tensor half = positions.to(precise).unsqueeze(-1).mul(frequency);
  const Tensor angle = at::cat({half, half}, -1).unsqueeze(1);
  return {.cos = angle.cos().to(dtype), .sin = angle.sin().to(dtype)};
}

/// Rotates x [batch, heads, time, head_dim] by the table's angles. A table for fewer dimensions leaves the
/// others as they are (GPT-NeoX's rotary_pct).
inline Tensor apply_rope(const Tensor& x, const RopeTable& table) {
  const auto rotated = table.cos.size(-1);
  if (rotated < x.size(-1)) {
    return at::cat({apply_rope(x.slice(-1, 0, rotated), table), x.slice(-1, rotated)}, -1);
  }
  const auto halves = x.chunk(2, -1);
  return x.mul(table.cos).add(at::cat({halves[1].neg(), halves[0]}, -1).mul(table.sin));
}

}  // namespace morphvlm
