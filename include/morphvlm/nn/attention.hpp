// Scaled dot-product attention as all modules here call it.
#pragma once

#include <ATen/ops/_scaled_dot_product_flash_attention_for_cpu.h>
#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/scaled_dot_product_attention.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdint>
#include <limits>
#include <optional>
#include <tuple>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// [batch, time, heads * d] -> [batch, heads, time, d]
inline Tensor split_heads(const Tensor& x, std::int64_t heads) {
  return x.unflatten(-1, {heads, x.size(-1) / heads}).transpose(-3, -2);
}

/// [batch, heads, time, d] -> [batch, time, heads * d]
inline Tensor join_heads(const Tensor& x) { return x.transpose(-3, -2).flatten(-2); }

namespace detail {

// Each key/value head serves heads/kv_heads consecutive query heads.
inline Tensor repeat_heads(const Tensor& x, std::int64_t heads) {
  const auto kv_heads = x.size(1);
  if (kv_heads == heads) return x;
  return x.unsqueeze(2).expand({-1, -1, heads / kv_heads, -1, -1}).flatten(1, 2);
}

// The dtype that scores are computed in. LibTorch's 16-bit attention on CPU has a backward pass several times
// slower than fp32's.
inline at::ScalarType attention_dtype(const Tensor& q) {
  const bool widen = at::isReducedFloatingType(q.scalar_type()) && computes_like(q, c10::kCPU);
  return widen ? at::kFloat : q.scalar_type();
}

}  // namespace detail

/// A bool mask (true where attention is allowed) as what is added to the scores of activations like `x`: 0 or
/// -inf. Layers that share a mask convert it once, not each for itself.
inline Tensor score_bias(const Tensor& mask, const Tensor& x) {
  if (!mask.defined() || mask.is_floating_point()) return mask;
  return at::zeros(mask.sizes(), x.options().dtype(detail::attention_dtype(x)).requires_grad(false))
      .masked_fill_(mask.logical_not(), -std::numeric_limits<double>::infinity());
}

namespace detail {

// Heads filled up with zeros to a width that LibTorch's fused attention on CUDA takes; no score changes.
// OpenLLaMA-3B's are 100 wide, and would else in 16 bits be computed with all scores in memory.
inline Tensor in_whole_vectors(const Tensor& x) {
  const std::int64_t vector = 16 / static_cast<std::int64_t>(x.element_size());
  const auto rest = x.size(-1) % vector;
  return rest == 0 ? x : at::constant_pad_nd(x, {0, vector - rest});
}

// Heads of whole vectors; `dim` is their width without what fills them up.
inline Tensor attend_on_cuda(const Tensor& q, const Tensor& k, const Tensor& v,
                             const std::optional<Tensor>& mask, bool is_causal, std::int64_t dim) {
  if (q.is_meta())
    return std::get<0>(at::_scaled_dot_product_flash_attention_for_cpu(q, k, v, 0, is_causal, mask));
  return at::scaled_dot_product_attention(q, k, v, mask, 0, is_causal,
                                          1 / std::sqrt(static_cast<double>(dim)));
}

}  // namespace detail

/// softmax(q k^T / sqrt(d)) v for q [b, heads, t, d] and k, v [b, kv_heads, s, d]; kv_heads divides heads.
/// `mask` is undefined (all attend), or broadcastable to [b, heads, t, s]: bool, true where attention is
/// allowed, or floating, added to the scores. A row that may attend to nothing is the caller's to avoid.
/// `is_causal` instead of a mask: query i of t attends to the first i + 1 of t keys.
inline Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& mask,
                     bool is_causal = false) {
  const auto heads = q.size(1);
  const auto dtype = detail::attention_dtype(q);
  const auto keys = detail::repeat_heads(k.to(dtype), heads),
             values = detail::repeat_heads(v.to(dtype), heads);
  std::optional<Tensor> attention_mask;
  if (mask.defined()) attention_mask = mask.is_floating_point() ? mask.to(dtype) : mask;
  if (detail::computes_like(q, c10::kCUDA)) {
    return detail::attend_on_cuda(detail::in_whole_vectors(q), detail::in_whole_vectors(keys),
                                  detail::in_whole_vectors(values), attention_mask, is_causal, q.size(-1))
        .slice(-1, 0, v.size(-1));
  }
  if (q.is_meta() && detail::meta_stands_for()) {
    const auto [out, rest] = at::_scaled_dot_product_flash_attention_for_cpu(q.to(dtype), keys, values, 0,
                                                                             is_causal, attention_mask);
    return out.to(q.scalar_type());
  }
  return at::scaled_dot_product_attention(q.to(dtype), keys, values, attention_mask, 0, is_causal)
      .to(q.scalar_type());
}

}  // namespace morphvlm
