// Attention of one new token over a cache of fixed length, in one kernel: rotation, the cache's new entry,
// scores, softmax and weighted sum.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <cmath>
#include <cstdint>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/decode_attention_cuda.hpp"
#include "morphvlm/nn/decode_attention_cpu.hpp"
#include "morphvlm/nn/kv_cache.hpp"
#include "morphvlm/nn/rope.hpp"

namespace morphvlm {

/// Whether decode_attention_on_cuda takes this: one token of BFloat16 on CUDA behind a cache of fixed length,
/// whole heads rotated, no gradient.
inline bool has_decode_attention_on_cuda(const Tensor& x, const RopeTable& rope, const Tensor& place,
                                         const LayerCache* cache) {
  if (cache == nullptr || !place.defined() || !x.is_cuda() || !has_cuda_kernels() ||
      x.scalar_type() != at::kBFloat16 || x.size(1) != 1)
    return false;
  const auto d = cache->k.size(3);
  return d % 4 == 0 && d <= 128 && rope.cos.defined() && rope.cos.size(-1) == d &&
         rope.cos.scalar_type() == at::kBFloat16 && cache->k.scalar_type() == at::kBFloat16 &&
         cache->k.size(2) <= detail::kMostDecodeLength && cache->k.is_contiguous() &&
         cache->v.is_contiguous() && !at::GradMode::is_enabled();
}

/// decode_attention on CUDA; q and k are rotated.
inline Tensor decode_attention_on_cuda(const Tensor& q, const Tensor& k, const Tensor& v,
                                       const RopeTable& rope, const Tensor& place, const Tensor& mask,
                                       LayerCache& cache) {
  const auto batch = q.size(0), kv_heads = cache.k.size(1), length = cache.k.size(2), d = cache.k.size(3);
  const auto heads = q.size(2) / d;
  const Tensor queries = q.contiguous(), keys = k.contiguous(), values = v.contiguous(),
               cos = rope.cos.contiguous(), sin = rope.sin.contiguous(),
               bias = mask.defined() ? mask.to(at::kBFloat16).contiguous() : mask;
  Tensor out = at::empty(q.sizes(), q.options().requires_grad(false));
  detail::decode_attention_kernel().launch(
      q.device(),
      {.blocks = static_cast<unsigned>(heads),
       .threads = 256,
       .blocks_y = static_cast<unsigned>(batch),
       .starts_early = true},
      queries.const_data_ptr(), keys.const_data_ptr(), values.const_data_ptr(), cos.const_data_ptr(),
      sin.const_data_ptr(), cache.k.mutable_data_ptr(), cache.v.mutable_data_ptr(), place.const_data_ptr(),
      detail::address(bias), out.mutable_data_ptr(), static_cast<int>(heads), static_cast<int>(kv_heads),
      static_cast<int>(d), static_cast<int>(length), static_cast<int>(rope.cos.size(0) == 1 ? 0 : d),
      static_cast<int>(!bias.defined() || bias.size(0) == 1 ? 0 : length),
      static_cast<float>(1 / std::sqrt(static_cast<double>(d))));
  return out;
}

/// Whether decode_attention takes this: one token behind a cache of fixed length, no gradient; on CUDA as
/// has_decode_attention_on_cuda says, on a CPU as has_decode_attention_on_cpu does.
inline bool has_decode_attention(const Tensor& x, const RopeTable& rope, const Tensor& place,
                                 const Tensor& mask, const LayerCache* cache) {
  return x.is_cuda() ? has_decode_attention_on_cuda(x, rope, place, cache)
                     : has_decode_attention_on_cpu(x, place, mask, cache);
}

/// Attention of q [batch, 1, heads * d] over the cache, which the new k, v [batch, 1, kv_heads * d] join at
/// `place`; q and k are rotated here if there is a table. `mask` is undefined or as score_bias makes it,
/// [batch or 1, 1, 1, length], on a CPU also [batch or 1, heads, 1, length]. [batch, 1, heads * d].
inline Tensor decode_attention(const Tensor& q, const Tensor& k, const Tensor& v, const RopeTable& rope,
                               const Tensor& place, const Tensor& mask, LayerCache& cache) {
  return q.is_cuda() ? decode_attention_on_cuda(q, k, v, rope, place, mask, cache)
                     : decode_attention_on_cpu(q, k, v, rope, place, mask, cache);
}

}  // namespace morphvlm
