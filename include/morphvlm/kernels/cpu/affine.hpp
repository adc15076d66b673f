// Products of activations with weights by the way that is fast on this processor. LibTorch's BFloat16
// products on a CPU without AVX-512 run on one thread, the backward pass a hundred times slower than fp32's;
// with AMX, and some rows to many weights, they spend most of their time on laying the weights out.
#pragma once

#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linear.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/mm.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/tile_products.hpp"
#include "morphvlm/kernels/cpu/x86_kernels.hpp"

namespace morphvlm {

namespace detail {

// What oneDNN's kernels for BFloat16 ask for.
inline bool has_fast_bf16_products() {
#if MORPHVLM_HAS_X86_KERNELS
  static const bool kHas = __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                           __builtin_cpu_supports("avx512dq");
  return kHas;
#else
  return true;
#endif
}

// A plan counts the memory of the pieces as this machine would have them.
inline bool is_slow_product(const Tensor& x) {
  return x.scalar_type() == at::kBFloat16 && computes_like(x, c10::kCPU) && !has_fast_bf16_products();
}

// f(first, last) for pieces of a weight's `rows` that stay in the cache while they are fp32.
template <class F>
void by_pieces(std::int64_t rows, std::int64_t width, const F& f) {
  constexpr std::int64_t kNumbers = 1 << 20;
  const auto step = std::max<std::int64_t>(1, kNumbers / std::max<std::int64_t>(1, width));
  for (std::int64_t first = 0; first < rows; first += step) f(first, std::min(rows, first + step));
}

inline Tensor rows_in_fp32(const Tensor& x) { return x.reshape({-1, x.size(-1)}).to(at::kFloat); }

// x W^T + b in fp32, a piece of the weight at a time, rounded once.
inline Tensor wide_affine(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Tensor rows = rows_in_fp32(x);
  auto shape = x.sizes().vec();
  shape.back() = weight.size(0);
  Tensor out = at::empty(shape, x.options().requires_grad(false));
  const Tensor out_rows = out.view({-1, weight.size(0)});
  by_pieces(weight.size(0), weight.size(1), [&](std::int64_t first, std::int64_t last) {
    Tensor part = at::mm(rows, weight.slice(0, first, last).to(at::kFloat).t());
    if (bias.defined()) part.add_(bias.slice(0, first, last));
    out_rows.slice(1, first, last).copy_(part);
  });
  return out;
}

// x W, likewise.
inline Tensor wide_times(const Tensor& x, const Tensor& weight) {
  const Tensor rows = rows_in_fp32(x);
  Tensor out = at::zeros({rows.size(0), weight.size(1)}, rows.options());
  by_pieces(weight.size(0), weight.size(1), [&](std::int64_t first, std::int64_t last) {
    out.addmm_(rows.slice(1, first, last), weight.slice(0, first, last).to(at::kFloat));
  });
  auto shape = x.sizes().vec();
  shape.back() = weight.size(1);
  return out.to(x.scalar_type()).view(shape);
}

// The same with gradients.
inline Tensor wide_affine_with_gradients(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return autograd_function(
      {x, weight, bias},
      [&](std::vector<Tensor>& saved) {
        // Each is for the other's gradient.
        saved = {weight.requires_grad() ? x : Tensor{}, x.requires_grad() ? weight : Tensor{}};
        return wide_affine(x, weight, bias);
      },
      [](const BackwardCall& call) {
        const Tensor &in = call.saved[0], &w = call.saved[1], &dy = call.grad;
        std::vector<Tensor> out(3);
        if (call.wants(0)) out[0] = wide_times(dy, w);
        if (call.wants(1)) out[1] = at::mm(rows_in_fp32(dy).t(), rows_in_fp32(in)).to(in.scalar_type());
        if (call.wants(2)) out[2] = rows_in_fp32(dy).sum(0).to(dy.scalar_type());
        return out;
      });
}

// x W^T + b for a weight and a bias that are frozen.
inline Tensor tile_affine_with_gradient(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  return autograd_function(
      {x},
      [&](std::vector<Tensor>& saved) {
        saved = {weight};
        return tile_affine(x, weight, bias);
      },
      [](const BackwardCall& call) { return std::vector<Tensor>{tile_times(call.grad, call.saved[0])}; });
}

}  // namespace detail

/// x W^T + b for x [..., in], weight [out, in] and bias [out] (or undefined) of one dtype: [..., out].
/// PyTorch equivalent: `nn.functional.linear`.
inline Tensor affine(const Tensor& x, const Tensor& weight, const Tensor& bias = {}) {
  if (detail::is_slow_product(x)) return detail::wide_affine_with_gradients(x, weight, bias);
  if (detail::takes_tiles(x, weight, 1) && !detail::is_recorded(bias))
    return detail::tile_affine_with_gradient(x, weight, bias);
  return bias.defined() ? at::linear(x, weight, bias) : at::linear(x, weight);
}

/// x W for x [..., n] and weight [n, m] of one dtype: [..., m]. No gradient of 16-bit numbers on a CPU.
inline Tensor times(const Tensor& x, const Tensor& weight) {
  if (detail::is_slow_product(x)) return detail::wide_times(x, weight);
  if (detail::takes_tiles(x, weight, 0) && !detail::is_recorded(x)) return detail::tile_times(x, weight);
  return at::matmul(x, weight);
}

}  // namespace morphvlm
