// One new token's attention on CUDA in one kernel: rotation, its place in the cache, scores, softmax and
// weighted sum.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/cuda_text.hpp"

namespace morphvlm::detail {

// A block to a head and batch row. Eight lanes share a key, four numbers of its head at a time, so heads are
// at most 128 wide; a block has 32 keys under way.
inline constexpr std::string_view kDecodeAttention = R"(
__device__ __forceinline__ Bf16 rotated(const Bf16* x, const Bf16* cos, const Bf16* sin, int i, int d) {
  const float other = i < d / 2 ? -widened(x[i + d / 2]) : widened(x[i - d / 2]);
  const float turned = widened(rounded(widened(x[i]) * widened(cos[i])));
  return rounded(turned + widened(rounded(other * widened(sin[i]))));
}

__device__ __forceinline__ float dot(const uint2& a, const uint2& b, float sum) {
  return dot(a.y, b.y, dot(a.x, b.x, sum));
}

extern "C" __global__ void __launch_bounds__(256) decode_attention(
    const Bf16* q, const Bf16* k, const Bf16* v, const Bf16* cos, const Bf16* sin, Bf16* cached_k, Bf16* cached_v,
    const long long* place, const Bf16* bias, Bf16* out, int heads, int kv_heads, int d, int length, int rope_stride,
    int bias_stride, float scale) {
  __align__(8) __shared__ Bf16 query[128], key[128], value[128];
  __shared__ float score[LENGTH], partial[8][128], reduced[8];
  let_next_start();
  wait_for_earlier();
  const int h = blockIdx.x, row = blockIdx.y, t = threadIdx.x, lane = t % 32, warp = t / 32;
  const int kv = h / (heads / kv_heads), now = (int)*place, parts = d / 4;
  const Bf16* const c = cos + (long long)row * rope_stride;
  const Bf16* const s = sin + (long long)row * rope_stride;
  Bf16* const keys = cached_k + ((long long)row * kv_heads + kv) * length * d;
  Bf16* const values = cached_v + ((long long)row * kv_heads + kv) * length * d;
  if (t < d) {
    query[t] = rotated(q + ((long long)row * heads + h) * d, c, s, t, d);
    key[t] = rotated(k + ((long long)row * kv_heads + kv) * d, c, s, t, d);
    value[t] = v[((long long)row * kv_heads + kv) * d + t];
    // Heads that share keys have one of them write; none of them reads it back.
    if (h % (heads / kv_heads) == 0) {
      keys[(long long)now * d + t] = key[t];
      values[(long long)now * d + t] = value[t];
    }
  }
  __syncthreads();
  const int group = lane / 8, first = lane % 8;
  uint2 mine[4];
#pragma unroll
  for (int i = 0; i < 4; ++i) mine[i] = first + 8 * i < parts ? ((const uint2*)query)[first + 8 * i] : make_uint2(0, 0);
  float top = -INFINITY;
#pragma unroll 2
  for (int j0 = 4 * warp; j0 <= now; j0 += 32) {
    const int j = j0 + group;
    const uint2* const from = j >= now ? (const uint2*)key : (const uint2*)(keys + (long long)j * d);
    float x = 0;
#pragma unroll
    for (int i = 0; i < 4; ++i)
      if (first + 8 * i < parts) x = dot(mine[i], from[first + 8 * i], x);
    for (int other = 4; other > 0; other /= 2) x += __shfl_xor_sync(0xFFFFFFFFu, x, other);
    if (j > now) continue;
    x *= scale;
    if (bias) x += widened(bias[(long long)row * bias_stride + j]);
    if (first == 0) score[j] = x;
    top = fmaxf(top, x);
  }
  top = warp_max(top);
  if (lane == 0) reduced[warp] = top;
  __syncthreads();
  for (int w = 0; w < 8; ++w) top = fmaxf(top, reduced[w]);
  __syncthreads();
  float sum = 0, acc[16];
#pragma unroll
  for (int i = 0; i < 16; ++i) acc[i] = 0;
#pragma unroll 2
  for (int j = 4 * warp + group; j <= now; j += 32) {
    const float p = expf(score[j] - top);
    sum += p;
    const uint2* const from = j == now ? (const uint2*)value : (const uint2*)(values + (long long)j * d);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if (first + 8 * i >= parts) break;
      const uint2 numbers = from[first + 8 * i];
      acc[4 * i] = fmaf(p, first_of(numbers.x), acc[4 * i]);
      acc[4 * i + 1] = fmaf(p, second_of(numbers.x), acc[4 * i + 1]);
      acc[4 * i + 2] = fmaf(p, first_of(numbers.y), acc[4 * i + 2]);
      acc[4 * i + 3] = fmaf(p, second_of(numbers.y), acc[4 * i + 3]);
    }
  }
  for (int other = 16; other > 4; other /= 2) {
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, other);
#pragma unroll
    for (int i = 0; i < 16; ++i) acc[i] += __shfl_xor_sync(0xFFFFFFFFu, acc[i], other);
  }
  if (lane == 0) reduced[warp] = sum;
  if (group == 0) {
#pragma unroll
    for (int i = 0; i < 16; ++i) partial[warp][4 * (first + 8 * (i / 4)) + i % 4] = acc[i];
  }
  __syncthreads();
  if (t >= d) return;
  float total = 0, whole = 0;
  for (int w = 0; w < 8; ++w) {
    total += partial[w][t];
    whole += reduced[w];
  }
  out[((long long)row * heads + h) * d + t] = rounded(total / whole);
}
)";

inline constexpr std::int64_t kMostDecodeLength = 4096;

inline const CudaKernel& decode_attention_kernel() {
  static const CudaKernel kKernel("decode_attention",
                                  cuda_source("#define LENGTH " + std::to_string(kMostDecodeLength) +
                                                  "\n#define INFINITY __int_as_float(0x7F800000)",
                                              kDecodeAttention));
  return kKernel;
}

}  // namespace morphvlm::detail
