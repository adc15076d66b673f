// Weights as products of few rows on CUDA read them: a warp to an output, whose row of the weight streams
// past, its first pieces asked for ahead of everything else.
#pragma once

#include <cstdint>
#include <string_view>

#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_text.hpp"
#include "morphvlm/kernels/packed_weights.hpp"

namespace morphvlm::detail {

// Numbers of 16 bits: eight to a load, four loads under way at a time.
inline constexpr std::string_view kPlainRowsCuda = R"(
struct Weight { const uint4* values; };
struct Tables {};
struct Ahead { uint4 of[4]; };

__device__ __forceinline__ void prepare(Tables&, const Weight&) {}

__device__ __forceinline__ Ahead ask_ahead(const Weight& weight, int o, int vectors) {
  const uint4* const w = weight.values + (long long)o * vectors;
  Ahead a;
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    const int i = threadIdx.x % 32 + 32 * k;
    a.of[k] = i < vectors ? __ldcs(w + i) : make_uint4(0, 0, 0, 0);
  }
  return a;
}

__device__ __forceinline__ Sums products(const Tables&, const Weight& weight, int o, const Ahead& ahead, const uint4* x,
                                         int vectors) {
  const uint4* const w = weight.values + (long long)o * vectors;
  Sums sums;
  for (int r = 0; r < ROWS; ++r) sums.of[r] = 0;
  const int lane = threadIdx.x % 32;
  Ahead a = ahead;
  int i = lane;
  for (; i + 96 < vectors; i += 128) {
    const Ahead now = a;
#pragma unroll
    for (int k = 0; k < 4; ++k)
      if (i + 128 + 32 * k < vectors) a.of[k] = __ldcs(w + i + 128 + 32 * k);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int r = 0; r < ROWS; ++r) sums.of[r] = dot(now.of[k], x[r * vectors + i + 32 * k], sums.of[r]);
    }
  }
#pragma unroll
  for (int k = 0; k < 4; ++k) {
    if (i + 32 * k >= vectors) break;
#pragma unroll
    for (int r = 0; r < ROWS; ++r) sums.of[r] = dot(a.of[k], x[r * vectors + i + 32 * k], sums.of[r]);
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sums.of[r] = warp_sum(sums.of[r]);
  return sums;
}
)";

// Codes of NF4: four bytes to a lane against 16 of x, so that neighbours read neighbouring memory; eight
// loads under way.
inline constexpr std::string_view kNf4RowsCuda = R"(
struct Weight {
  const unsigned* codes; const unsigned char* absmax; const float* nested; const float* dynamic; const float* offset;
};
struct Tables { float levels[16], scales[256]; };
struct Ahead { unsigned codes[8]; unsigned char absmax[8]; };

__device__ __forceinline__ void prepare(Tables& tables, const Weight& weight) {
  if (threadIdx.x < 16) tables.levels[threadIdx.x] = kLevels[threadIdx.x];
  tables.scales[threadIdx.x] = weight.dynamic[threadIdx.x];
  __syncthreads();
}

__device__ __forceinline__ Ahead ask_at(const Weight& weight, long long first, int from, int vectors) {
  Ahead a;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const int i = from + 32 * k;
    a.codes[k] = i < vectors ? __ldcs(weight.codes + first + i) : 0;
    a.absmax[k] = i < vectors ? weight.absmax[(first + i) / 8] : 0;
  }
  return a;
}
__device__ __forceinline__ Ahead ask_ahead(const Weight& weight, int o, int vectors) {
  return ask_at(weight, (long long)o * vectors, threadIdx.x % 32, vectors);
}

__device__ __forceinline__ Sums products(const Tables& tables, const Weight& weight, int o, const Ahead& asked,
                                         const uint4* x, int vectors) {
  const long long first = (long long)o * vectors;
  Sums sums;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sums.of[r] = 0;
  Ahead ahead = asked;
  for (int from = threadIdx.x % 32; from < vectors; from += 256) {
    const Ahead now = ahead;
    ahead = ask_at(weight, first, from + 256, vectors);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const int i = from + 32 * k;
      if (i >= vectors) break;
      const float scale = scale_of(tables.scales[now.absmax[k]], weight.nested, weight.offset, (first + i) / 8);
      float level[8];
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const unsigned byte = (now.codes[k] >> (8 * b)) & 255u;
        level[2 * b] = tables.levels[byte >> 4];
        level[2 * b + 1] = tables.levels[byte & 15u];
      }
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const uint4 v = x[r * vectors + i];
        const unsigned pairs[4] = {v.x, v.y, v.z, v.w};
        float part = 0;
#pragma unroll
        for (int b = 0; b < 4; ++b)
          part = fmaf(level[2 * b + 1], second_of(pairs[b]), fmaf(level[2 * b], first_of(pairs[b]), part));
        sums.of[r] = fmaf(part, scale, sums.of[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sums.of[r] = warp_sum(sums.of[r]);
  return sums;
}
)";

// `Weight` as the kernels of a weight's kind take it, and its sizes.
struct CudaPlainRows {
  const void* values = nullptr;
};
struct CudaNf4Rows {
  const void *codes = nullptr, *absmax = nullptr, *nested = nullptr, *dynamic = nullptr, *offset = nullptr;
};

inline CudaPlainRows cuda_rows(const Tensor& weight) { return {.values = weight.const_data_ptr()}; }
inline CudaNf4Rows cuda_rows(const Nf4Packed& p) {
  return {.codes = p.codes.const_data_ptr(),
          .absmax = p.absmax.const_data_ptr(),
          .nested = p.nested_absmax.const_data_ptr(),
          .dynamic = shared_dynamic_levels(p.codes.device()).const_data_ptr(),
          .offset = p.offset.const_data_ptr()};
}

inline std::int64_t outputs_of(const Tensor& weight) { return weight.size(0); }
inline std::int64_t outputs_of(const Nf4Packed& p) { return p.out; }
inline std::int64_t inputs_of(const Tensor& weight) { return weight.size(1); }
inline std::int64_t inputs_of(const Nf4Packed& p) { return p.in; }

}  // namespace morphvlm::detail
