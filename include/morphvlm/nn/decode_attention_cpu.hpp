// Attention of one new token over a cache of fixed length, on a CPU: rotation, the cache's new entry, scores,
// softmax and weighted sum.
#pragma once

#include <cstdint>
#include <vector>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/decode_attention_kernels.hpp"
#include "morphvlm/nn/kv_cache.hpp"
#include "morphvlm/nn/rope.hpp"

namespace morphvlm {

namespace detail {

// x [batch, heads * d] in fp32, of which the first numbers of each head are rotated by the table, each step
// rounded as if it had been stored in a T.
template <class T>
std::vector<float> rotated(const Tensor& x, const RopeTable& rope, std::int64_t d) {
  auto all = floats_of(x);
  if (!rope.cos.defined()) return all;
  const auto cos = floats_of(rope.cos), sin = floats_of(rope.sin);
  const auto width = static_cast<std::size_t>(rope.cos.size(-1)), half = width / 2,
             row = static_cast<std::size_t>(x.size(2));
  for (std::size_t head = 0; head < all.size(); head += static_cast<std::size_t>(d)) {
    const auto table = rope.cos.size(0) == 1 ? 0 : head / row * width;
    for (std::size_t i = 0; i < half; ++i) {
      auto &a = all[head + i], &b = all[head + half + i];
      const auto c = table + i, e = table + half + i;
      const float first = stored_as<T>(a * cos[c]) + stored_as<T>(-b * sin[c]);
      const float second = stored_as<T>(b * cos[e]) + stored_as<T>(a * sin[e]);
      a = stored_as<T>(first);
      b = stored_as<T>(second);
    }
  }
  return all;
}

// Puts x [batch, heads, d] where position `now` is in `cached` [batch, heads, length, d].
template <class T>
void put(const std::vector<float>& x, Tensor& cached, std::int64_t now) {
  const auto length = cached.size(2), d = cached.size(3);
  T* const to = cached.mutable_data_ptr<T>();
  for (std::int64_t head = 0; head < cached.size(0) * cached.size(1); ++head) {
    for (std::int64_t i = 0; i < d; ++i)
      to[(head * length + now) * d + i] = static_cast<T>(x[static_cast<std::size_t>(head * d + i)]);
  }
}

}  // namespace detail

/// Whether decode_attention_on_cpu takes this: one token of float or BFloat16 on a CPU behind a cache of
/// fixed length in the same dtype, no gradient. `mask` is undefined or float.
inline bool has_decode_attention_on_cpu(const Tensor& x, const Tensor& place, const Tensor& mask,
                                        const LayerCache* cache) {
  return cache != nullptr && place.defined() && has_decode_attention_kernel(x, cache->k, cache->v, mask);
}

/// Attention of q [batch, 1, heads * d] over the cache, which the new k, v [batch, 1, kv_heads * d] join at
/// `place`; q and k are rotated here if there is a table. `mask` is undefined or added to the scores, [batch
/// or 1, heads or 1, 1, length]. [batch, 1, heads * d].
inline Tensor decode_attention_on_cpu(const Tensor& q, const Tensor& k, const Tensor& v,
                                      const RopeTable& rope, const Tensor& place, const Tensor& mask,
                                      LayerCache& cache) {
  const auto now = *place.const_data_ptr<std::int64_t>(), d = cache.k.size(3);
  return detail::with_float_type(q.scalar_type(), [&]<class T>(T) {
    detail::put<T>(detail::rotated<T>(k, rope, d), cache.k, now);
    detail::put<T>(detail::floats_of(v), cache.v, now);
    return detail::decode_attention_of<T>(detail::rotated<T>(q, rope, d), q, cache.k, cache.v, now + 1, mask);
  });
}

}  // namespace morphvlm
