// Products of few rows with large weights on CUDA, as in decoding: each weight is read once, and products of
// one input share a launch.
#pragma once

#include <ATen/ops/empty.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/cuda_kernel.hpp"
#include "morphvlm/core/cuda_text.hpp"
#include "morphvlm/core/flop_meter.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

namespace detail {

// A warp to an output: the weight's row streams past, eight numbers to a load, four loads under way at a
// time.
inline constexpr std::string_view kFewRowsCuda = R"(
struct Sums { float of[ROWS]; };

__device__ __forceinline__ Sums products(const uint4* __restrict__ w, const uint4* __restrict__ x, int vectors) {
  Sums sums;
  for (int r = 0; r < ROWS; ++r) sums.of[r] = 0;
  const int lane = threadIdx.x % 32;
  int i = lane;
  for (; i + 96 < vectors; i += 128) {
    uint4 a[4];
#pragma unroll
    for (int k = 0; k < 4; ++k) a[k] = __ldcs(w + i + 32 * k);
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int r = 0; r < ROWS; ++r) sums.of[r] = dot(a[k], x[(long long)r * vectors + i + 32 * k], sums.of[r]);
    }
  }
  for (; i < vectors; i += 32) {
    const uint4 a = __ldcs(w + i);
#pragma unroll
    for (int r = 0; r < ROWS; ++r) sums.of[r] = dot(a, x[(long long)r * vectors + i], sums.of[r]);
  }
#pragma unroll
  for (int r = 0; r < ROWS; ++r) sums.of[r] = warp_sum(sums.of[r]);
  return sums;
}

// y1, y2, y3 = x W1^T + b1, ...; [ROWS, out] each. A weight that is not there has 0 outputs.
extern "C" __global__ void __launch_bounds__(256) few_rows_products(
    const uint4* x, const uint4* w1, const uint4* w2, const uint4* w3, const Bf16* b1, const Bf16* b2,
    const Bf16* b3, Bf16* y1, Bf16* y2, Bf16* y3, int out1, int out2, int out3, int vectors) {
  int o = blockIdx.x * 8 + threadIdx.x / 32;
  const uint4* w = w1;
  const Bf16* b = b1;
  Bf16* y = y1;
  int out = out1;
  if (o >= out1) { o -= out1; w = w2; b = b2; y = y2; out = out2; }
  if (y == y2 && o >= out2) { o -= out2; w = w3; b = b3; y = y3; out = out3; }
  if (o >= out) return;
  const Sums sums = products(w + (long long)o * vectors, x, vectors);
  if (threadIdx.x % 32 != 0) return;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) y[(long long)r * out + o] = rounded(sums.of[r] + (b ? widened(b[o]) : 0.0f));
}
)";

// y = silu(x G^T) * (x U^T), each product rounded as if it had been stored.
inline constexpr std::string_view kSwiGluCuda = R"(
extern "C" __global__ void __launch_bounds__(256) few_rows_swiglu(const uint4* x, const uint4* gate,
                                                                  const uint4* up, Bf16* y, int out, int vectors) {
  const int o = blockIdx.x * 8 + threadIdx.x / 32;
  if (o >= out) return;
  const Sums g = products(gate + (long long)o * vectors, x, vectors);
  const Sums u = products(up + (long long)o * vectors, x, vectors);
  if (threadIdx.x % 32 != 0) return;
#pragma unroll
  for (int r = 0; r < ROWS; ++r) {
    const float z = widened(rounded(g.of[r]));
    const float silu = widened(rounded(z / (1.0f + expf(-z))));
    y[(long long)r * out + o] = rounded(silu * widened(rounded(u.of[r])));
  }
}
)";

inline const CudaKernel& few_rows_cuda_kernel(std::int64_t rows, bool is_swiglu) {
  static const CudaKernelsByRows kProducts("few_rows_products", kFewRowsCuda),
      kSwiGlu("few_rows_swiglu", std::string(kFewRowsCuda) + std::string(kSwiGluCuda));
  return (is_swiglu ? kSwiGlu : kProducts)[rows];
}

inline bool is_whole_vectors(const Tensor& t) {
  return t.scalar_type() == at::kBFloat16 && t.is_contiguous() && t.size(-1) % 8 == 0 &&
         reinterpret_cast<std::uintptr_t>(t.const_data_ptr()) % 16 == 0;
}

}  // namespace detail

/// Whether the kernels here can multiply x [..., in] by weights like `weight` [out, in]: BFloat16 on CUDA,
/// few rows, whole vectors of eight.
inline bool is_few_rows_on_cuda(const Tensor& x, const Tensor& weight) {
  return x.is_cuda() && weight.is_cuda() && has_cuda_kernels() && x.numel() > 0 &&
         x.numel() <= kMaxCudaRows * weight.size(-1) && detail::is_whole_vectors(x) &&
         detail::is_whole_vectors(weight);
}

/// x W^T + b for one to three weights [out, in] (see is_few_rows_on_cuda) and as many biases [out], undefined
/// where there is none; sums in fp32. No gradient.
inline std::vector<Tensor> few_rows_products_on_cuda(const Tensor& x, const std::vector<Tensor>& weights,
                                                     const std::vector<Tensor>& biases) {
  const auto in = weights.front().size(1), rows = x.numel() / in;
  auto shape = x.sizes().vec();
  std::vector<Tensor> out;
  std::array<const void*, 3> w{}, b{};
  std::array<void*, 3> y{};
  std::array<int, 3> outputs{};
  std::int64_t all = 0;
  for (std::size_t i = 0; i < weights.size(); ++i) {
    shape.back() = weights[i].size(0);
    out.push_back(at::empty(shape, x.options().requires_grad(false)));
    w[i] = weights[i].const_data_ptr();
    b[i] = biases[i].defined() ? biases[i].const_data_ptr() : nullptr;
    y[i] = out[i].mutable_data_ptr();
    outputs[i] = static_cast<int>(weights[i].size(0));
    all += weights[i].size(0);
  }
  FlopMeter::add(2.0 * static_cast<double>(rows * in * all));
  detail::few_rows_cuda_kernel(rows, false)
      .launch(x.device(), {detail::blocks_of_eight(all), 256}, x.const_data_ptr(), w[0], w[1], w[2], b[0],
              b[1], b[2], y[0], y[1], y[2], outputs[0], outputs[1], outputs[2], static_cast<int>(in / 8));
  return out;
}

/// silu(x G^T) * (x U^T) for G, U [hidden, in] (see is_few_rows_on_cuda). No gradient.
inline Tensor few_rows_swiglu_on_cuda(const Tensor& x, const Tensor& gate, const Tensor& up) {
  const auto in = gate.size(1), rows = x.numel() / in;
  auto shape = x.sizes().vec();
  shape.back() = gate.size(0);
  Tensor out = at::empty(shape, x.options().requires_grad(false));
  FlopMeter::add(4.0 * static_cast<double>(rows * gate.numel()));
  detail::few_rows_cuda_kernel(rows, true)
      .launch(x.device(), {detail::blocks_of_eight(gate.size(0)), 256}, x.const_data_ptr(),
              gate.const_data_ptr(), up.const_data_ptr(), out.mutable_data_ptr(),
              static_cast<int>(gate.size(0)), static_cast<int>(in / 8));
  return out;
}

}  // namespace morphvlm
