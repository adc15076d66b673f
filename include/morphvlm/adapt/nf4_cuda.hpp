// NF4 on CUDA: a weight written out, and products of few rows straight from the codes.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <memory>
#include <string>

#include "morphvlm/core/cuda_kernel.hpp"
#include "morphvlm/core/cuda_text.hpp"
#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm::detail {

// The levels in shared memory: sixteen words in sixteen banks.
inline constexpr std::string_view kNf4Cuda = R"(
__device__ const float kLevels[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
    -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
    0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f,
    0.7229568362236023f, 1.0f};
// Rounded after each step, as it is on a CPU.
__device__ __forceinline__ float scale_of(float level, const float* nested, const float* offset, long long block) {
  return __fadd_rn(__fmul_rn(level, nested[block / 256]), *offset);
}
)";

inline constexpr std::string_view kNf4UnpackCuda = R"(
#if WIDE
typedef float Value;
__device__ __forceinline__ Value stored(float x) { return x; }
#else
typedef Bf16 Value;
__device__ __forceinline__ Value stored(float x) { return rounded(x); }
#endif
// Sixteen weights to a thread: a quarter of a block of 64.
extern "C" __global__ void __launch_bounds__(256) nf4_unpack(const unsigned char* codes, const unsigned char* absmax,
                                                             const float* nested, const float* dynamic,
                                                             const float* offset, Value* out, long long weights) {
  __shared__ float levels[16];
  if (threadIdx.x < 16) levels[threadIdx.x] = kLevels[threadIdx.x];
  __syncthreads();
  const long long first = ((long long)blockIdx.x * 256 + threadIdx.x) * 16;
  if (first >= weights) return;
  const float scale = scale_of(dynamic[absmax[first / 64]], nested, offset, first / 64);
  __align__(16) Value values[16];
  const int bytes = (int)min(8ll, (weights - first) / 2);
  if (bytes == 8) {
    const uint2 packed = *(const uint2*)(codes + first / 2);
#pragma unroll
    for (int i = 0; i < 8; ++i) {
      const unsigned byte = ((i < 4 ? packed.x : packed.y) >> (8 * (i % 4))) & 255u;
      values[2 * i] = stored(__fmul_rn(levels[byte >> 4], scale));
      values[2 * i + 1] = stored(__fmul_rn(levels[byte & 15u], scale));
    }
    const uint4* const from = (const uint4*)values;
    uint4* const to = (uint4*)(out + first);
#pragma unroll
    for (int i = 0; i < (int)(16 * sizeof(Value) / 16); ++i) to[i] = from[i];
    return;
  }
  for (int i = 0; i < bytes; ++i) {
    const unsigned byte = codes[first / 2 + i];
    out[first + 2 * i] = stored(__fmul_rn(levels[byte >> 4], scale));
    out[first + 2 * i + 1] = stored(__fmul_rn(levels[byte & 15u], scale));
  }
}
)";

// A warp to an output; four bytes of codes to a lane against 16 of x, so that neighbours read neighbouring
// memory; eight loads under way, the first eight ahead of everything else.
inline constexpr std::string_view kNf4ProductCuda = R"(
struct Ahead { unsigned codes[8]; unsigned char absmax[8]; };

__device__ __forceinline__ Ahead ask_ahead(const unsigned* codes, const unsigned char* absmax, long long first, int from,
                                           int words) {
  Ahead a;
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const int i = from + 32 * k;
    a.codes[k] = i < words ? __ldcs(codes + first + i) : 0;
    a.absmax[k] = i < words ? absmax[(first + i) / 8] : 0;
  }
  return a;
}

extern "C" __global__ void __launch_bounds__(256) nf4_product(
    const unsigned* codes, const unsigned char* absmax, const float* nested, const float* dynamic, const float* offset,
    const uint4* x, Bf16* y, int out, int in) {
  __shared__ float levels[16], scales[256];
  if (threadIdx.x < 16) levels[threadIdx.x] = kLevels[threadIdx.x];
  scales[threadIdx.x] = dynamic[threadIdx.x];
  const int o = blockIdx.x * 8 + threadIdx.x / 32, lane = threadIdx.x % 32, words = o < out ? in / 8 : 0;
  const long long first = (long long)o * words;
  Ahead ahead = ask_ahead(codes, absmax, first, lane, words);
  let_next_start();
  __syncthreads();
  wait_for_earlier();
  if (o >= out) return;
  float sums[ROWS];
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sums[r] = 0;
  for (int from = lane; from < words; from += 256) {
    const Ahead now = ahead;
    ahead = ask_ahead(codes, absmax, first, from + 256, words);
#pragma unroll
    for (int k = 0; k < 8; ++k) {
      const int i = from + 32 * k;
      if (i >= words) break;
      const float scale = scale_of(scales[now.absmax[k]], nested, offset, (first + i) / 8);
      float level[8];
#pragma unroll
      for (int b = 0; b < 4; ++b) {
        const unsigned byte = (now.codes[k] >> (8 * b)) & 255u;
        level[2 * b] = levels[byte >> 4];
        level[2 * b + 1] = levels[byte & 15u];
      }
#pragma unroll
      for (int r = 0; r < ROWS; ++r) {
        const uint4 v = x[r * (in / 8) + i];
        const unsigned pairs[4] = {v.x, v.y, v.z, v.w};
        float part = 0;
#pragma unroll
        for (int b = 0; b < 4; ++b)
          part = fmaf(level[2 * b + 1], second_of(pairs[b]), fmaf(level[2 * b], first_of(pairs[b]), part));
        sums[r] = fmaf(part, scale, sums[r]);
      }
    }
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const float sum = warp_sum(sums[r]);
    if (lane == 0) y[(long long)r * out + o] = rounded(sum);
  }
}
)";

inline const CudaKernel& nf4_unpack_kernel(bool wide) {
  const auto make = [](const char* defines) {
    return std::make_unique<CudaKernel>(
        "nf4_unpack", cuda_source(defines, std::string(kNf4Cuda) + std::string(kNf4UnpackCuda)));
  };
  static const auto kNarrow = make("#define WIDE 0"), kWide = make("#define WIDE 1");
  return *(wide ? kWide : kNarrow);
}

inline const CudaKernel& nf4_product_kernel(std::int64_t rows) {
  static const CudaKernelsByRows kKernels("nf4_product",
                                          std::string(kNf4Cuda) + std::string(kNf4ProductCuda));
  return kKernels[rows];
}

/// The weight [out, in] that `packed` (NF4::Packed on CUDA) stands for, in float or BFloat16; `dynamic` are
/// the 256 levels of the scales' code, on the same device.
template <class Packed>
Tensor nf4_unpack_on_cuda(const Packed& packed, const Tensor& dynamic, at::ScalarType dtype) {
  Tensor weight = at::empty({packed.out, packed.in}, packed.codes.options().dtype(dtype));
  const long long weights = packed.out * packed.in;
  constexpr long long kWeightsOfThread = 16;
  nf4_unpack_kernel(dtype == at::kFloat)
      .launch(weight.device(), grid_of_threads((weights + kWeightsOfThread - 1) / kWeightsOfThread),
              packed.codes.const_data_ptr(), packed.absmax.const_data_ptr(),
              packed.nested_absmax.const_data_ptr(), dynamic.const_data_ptr(), packed.offset.const_data_ptr(),
              weight.mutable_data_ptr(), weights);
  return weight;
}

/// x W^T for x [..., in] of BFloat16, few rows, and a weight of whole blocks to a row. No gradient.
template <class Packed>
Tensor nf4_product_on_cuda(const Tensor& x, const Packed& packed, const Tensor& dynamic) {
  const Tensor rows = x.contiguous();
  auto shape = x.sizes().vec();
  shape.back() = packed.out;
  Tensor y = at::empty(shape, x.options().requires_grad(false));
  FlopMeter::add(2.0 * static_cast<double>(x.numel() * packed.out));
  nf4_product_kernel(x.numel() / packed.in)
      .launch(x.device(), {.blocks = blocks_of_eight(packed.out), .threads = 256, .starts_early = true},
              packed.codes.const_data_ptr(), packed.absmax.const_data_ptr(),
              packed.nested_absmax.const_data_ptr(), dynamic.const_data_ptr(), packed.offset.const_data_ptr(),
              rows.const_data_ptr(), y.mutable_data_ptr(), static_cast<int>(packed.out),
              static_cast<int>(packed.in));
  return y;
}

}  // namespace morphvlm::detail
