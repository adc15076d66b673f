// Attention of one new token on a CPU: each key and value is read once, in the dtype it is kept in, where the
// library's operators first widen and repeat all of them.
#pragma once

#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/gemv_cpu.hpp"

namespace morphvlm {

namespace detail {

// out[i] = sum over j of p[j] * v[j, i]; v is [count, d].
template <class T>
using WeightedRowsKernel = void (*)(const T* v, std::int64_t d, std::int64_t count, const float* p,
                                    float* out);

template <int Lanes, int Width, class T>
[[gnu::always_inline]] inline void weighted_columns(const T* v, std::int64_t d, std::int64_t count,
                                                    const float* p, float* out) {
  typename Vectors<Lanes>::F sums[Width] = {}, values;
  for (std::int64_t j = 0; j < count; ++j) {
#pragma GCC unroll 4
    for (int k = 0; k < Width; ++k) {
      widen<Lanes>(values, v + j * d + k * Lanes);
      sums[k] += values * p[j];
    }
  }
  std::memcpy(out, sums, sizeof sums);
}

template <int Lanes, class T>
[[gnu::always_inline]] inline void weighted_rows(const T* v, std::int64_t d, std::int64_t count,
                                                 const float* p, float* out) {
  std::int64_t i = 0;
  for (; i + 4 * Lanes <= d; i += 4 * Lanes) weighted_columns<Lanes, 4>(v + i, d, count, p, out + i);
  for (; i + Lanes <= d; i += Lanes) weighted_columns<Lanes, 1>(v + i, d, count, p, out + i);
  for (; i < d; ++i) {
    out[i] = 0;
    for (std::int64_t j = 0; j < count; ++j) out[i] += p[j] * static_cast<float>(v[j * d + i]);
  }
}

template <class T>
void weighted_rows_portable(const T* v, std::int64_t d, std::int64_t count, const float* p, float* out) {
  weighted_rows<4>(v, d, count, p, out);
}

#if MORPHVLM_HAS_X86_KERNELS
template <class T>
__attribute__((target("avx2,fma"))) void weighted_rows_avx2(const T* v, std::int64_t d, std::int64_t count,
                                                            const float* p, float* out) {
  weighted_rows<8>(v, d, count, p, out);
}

template <class T>
__attribute__((target("avx512f,avx512bw,avx512vl,fma"))) void weighted_rows_avx512(const T* v, std::int64_t d,
                                                                                   std::int64_t count,
                                                                                   const float* p,
                                                                                   float* out) {
  weighted_rows<16>(v, d, count, p, out);
}
#endif

// The fastest kernel that this processor runs.
template <class T>
WeightedRowsKernel<T> weighted_rows_kernel() {
#if MORPHVLM_HAS_X86_KERNELS
  if (gemv_kernel<T>() == &gemv_avx512<T>) return &weighted_rows_avx512<T>;
  if (gemv_kernel<T>() == &gemv_avx2<T>) return &weighted_rows_avx2<T>;
#endif
  return &weighted_rows_portable<T>;
}

// The queries of a token and what they attend to, as the loops below see them.
template <class T>
struct OneToken {
  const float* q = nullptr;  // [batch, heads, d]
  const T* k = nullptr;      // [batch, kv_heads, length, d]
  const T* v = nullptr;      // the same
  const float* bias = nullptr;
  T* out = nullptr;  // [batch, heads, d]
  std::int64_t batch = 0, heads = 0, kv_heads = 0, d = 0, length = 0;
  std::int64_t count = 0;  // keys that are there, of `length`
  std::int64_t bias_row = 0, bias_head = 0;

  std::int64_t group() const { return heads / kv_heads; }
};

// scores [count] -> what softmax makes of them, but for its denominator, which is returned.
inline float exponentials(float* scores, std::int64_t count, float scale, const float* bias) {
  float top = -INFINITY, sum = 0;
  for (std::int64_t j = 0; j < count; ++j) {
    scores[j] = scores[j] * scale + (bias == nullptr ? 0 : bias[j]);
    top = std::max(top, scores[j]);
  }
  for (std::int64_t j = 0; j < count; ++j) {
    scores[j] = std::exp(scores[j] - top);
    sum += scores[j];
  }
  return sum;
}

// The query heads that share head `shared` of keys and values, counted over all batch rows.
template <class T>
void attend_shared_head(const OneToken<T>& t, std::int64_t shared, std::vector<float>& scores,
                        std::vector<float>& sums) {
  const auto row = shared / t.kv_heads, kv = shared % t.kv_heads, group = t.group();
  const T* const k = t.k + shared * t.length * t.d;
  const T* const v = t.v + shared * t.length * t.d;
  const auto scale = static_cast<float>(1 / std::sqrt(static_cast<double>(t.d)));
  scores.resize(static_cast<std::size_t>(kRowsAtOnce * t.count));
  sums.resize(static_cast<std::size_t>(t.d));
  for (std::int64_t first = 0; first < group; first += kRowsAtOnce) {
    const auto rows = std::min(kRowsAtOnce, group - first), head = kv * group + first;
    const auto place = (row * t.heads + head) * t.d;
    gemv_kernel<T>()({.values = k, .in = t.d}, t.q + place, rows, t.count, 0, t.count, scores.data());
    for (std::int64_t r = 0; r < rows; ++r) {
      float* const p = scores.data() + r * t.count;
      const float* const bias =
          t.bias == nullptr ? nullptr : t.bias + row * t.bias_row + (head + r) * t.bias_head;
      const float whole = exponentials(p, t.count, scale, bias);
      weighted_rows_kernel<T>()(v, t.d, t.count, p, sums.data());
      for (std::int64_t i = 0; i < t.d; ++i)
        t.out[place + r * t.d + i] = static_cast<T>(sums[static_cast<std::size_t>(i)] / whole);
    }
  }
}

template <class T>
void decode_attention_row(const OneToken<T>& t) {
  FlopMeter::add(4.0 * static_cast<double>(t.batch * t.heads * t.count * t.d));
  constexpr std::int64_t kWorthThread = 1 << 15;
  const auto grain = std::max<std::int64_t>(1, kWorthThread / (t.group() * t.count * t.d));
  at::parallel_for(0, t.batch * t.kv_heads, grain, [&](std::int64_t first, std::int64_t last) {
    std::vector<float> scores, sums;
    for (auto shared = first; shared < last; ++shared) attend_shared_head(t, shared, scores, sums);
  });
}

}  // namespace detail

/// Whether decode_attention_over takes one token's q [batch, 1, heads * d] over k, v [batch, kv_heads,
/// length, d]: on a CPU, in one dtype, float or BFloat16, and without a gradient. `bias` is undefined or
/// float.
inline bool has_decode_attention_kernel(const Tensor& q, const Tensor& k, const Tensor& v,
                                        const Tensor& bias) {
  return q.is_cpu() && detail::is_float_or_bf16(q) && q.size(1) == 1 && q.numel() > 0 &&
         k.scalar_type() == q.scalar_type() && v.scalar_type() == q.scalar_type() && k.is_contiguous() &&
         v.is_contiguous() && (!bias.defined() || bias.scalar_type() == at::kFloat) &&
         !at::GradMode::is_enabled();
}

namespace detail {

// The same for queries that are there in fp32; `like` is [batch, 1, heads * d] in the dtype of the result.
template <class T>
Tensor decode_attention_of(const std::vector<float>& q, const Tensor& like, const Tensor& k, const Tensor& v,
                           std::int64_t count, const Tensor& bias) {
  Tensor out = at::empty(like.sizes(), like.options().requires_grad(false));
  const Tensor added = bias.defined() ? bias.contiguous() : bias;
  const auto of_heads = added.defined() && added.size(1) > 1 ? added.size(3) : 0;
  decode_attention_row<T>(
      {.q = q.data(),
       .k = k.const_data_ptr<T>(),
       .v = v.const_data_ptr<T>(),
       .bias = data_or_null<float>(added),
       .out = out.mutable_data_ptr<T>(),
       .batch = k.size(0),
       .heads = like.size(2) / k.size(3),
       .kv_heads = k.size(1),
       .d = k.size(3),
       .length = k.size(2),
       .count = count,
       .bias_row = added.defined() && added.size(0) > 1 ? added.size(1) * added.size(3) : 0,
       .bias_head = of_heads});
  return out;
}

}  // namespace detail

/// softmax(q k^T / sqrt(d) + bias) v over the first `count` keys, see has_decode_attention_kernel. `bias` is
/// undefined or [batch or 1, heads or 1, 1, length]. [batch, 1, heads * d].
inline Tensor decode_attention_over(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t count,
                                    const Tensor& bias) {
  return detail::with_float_type(q.scalar_type(), [&]<class T>(T) {
    return detail::decode_attention_of<T>(detail::floats_of(q), q, k, v, count, bias);
  });
}

}  // namespace morphvlm
