// Normalisation over the last dimension.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_fused_rms_norm.h>
#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <tuple>

#include "morphvlm/core/init.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/gemv_product.hpp"

namespace morphvlm {

/// PyTorch equivalent: `nn.LayerNorm`.
struct LayerNorm {
  Tensor weight = {};  ///< [dim]
  Tensor bias = {};    ///< [dim], or undefined
  double eps = 1e-5;   ///< added to the variance

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    return at::layer_norm(x, weight.sizes(), weight.to(dtype), bias.defined() ? bias.to(dtype) : bias, eps);
  }

  /// Ones and zeros.
  static LayerNorm init(std::int64_t dim, const Init& init, double eps = 1e-5, bool with_bias = true) {
    return {.weight = at::ones({dim}, init.options),
            .bias = with_bias ? at::zeros({dim}, init.options) : Tensor{},
            .eps = eps};
  }
};

namespace detail {

// RMSNorm of few rows: LibTorch makes ten operators of it on a CPU, each slower to call than to run.
inline Tensor gemv_rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  auto values = floats_of(x);
  norm_rows(values, floats_of(weight), {}, eps, false);
  return tensor_of(values, x.sizes(), x.options());
}

}  // namespace detail

/// x / sqrt(mean(x^2) + eps) * weight, the mean in fp32 also for 16-bit activations (as HF's LlamaRMSNorm).
struct RMSNorm {
  Tensor weight = {};  ///< [dim]
  double eps = 1e-6;   ///< added to the mean of the squares

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const {
    const bool plain = !at::GradMode::is_enabled() || !(x.requires_grad() || weight.requires_grad());
    if (plain && detail::is_float_or_bf16(weight) && is_gemv(x, weight.size(0)))
      return detail::gemv_rms_norm(x, weight, eps);
    const Tensor factors = weight.to(x.scalar_type());
    // CUDA's own kernel keeps its input and one number a row, which a plan finds in LayerNorm.
    if (x.is_cuda()) return std::get<0>(at::_fused_rms_norm(x, weight.sizes(), factors, eps));
    if (x.is_meta() && detail::computes_like(x, c10::kCUDA))
      return at::layer_norm(x, weight.sizes(), factors, {}, eps);
    return at::rms_norm(x, weight.sizes(), factors, eps);
  }

  /// Ones.
  static RMSNorm init(std::int64_t dim, const Init& init, double eps = 1e-6) {
    return {.weight = at::ones({dim}, init.options), .eps = eps};
  }
};

/// The norm as the first step of products of few rows with weights that nothing has just written.
inline GemvFusion normed_by(const LayerNorm& norm) {
  return {.norm = norm.weight,
          .norm_bias = norm.bias,
          .eps = norm.eps,
          .is_centred = true,
          .weights_are_old = true};
}
/// The same.
inline GemvFusion normed_by(const RMSNorm& norm) {
  return {.norm = norm.weight, .eps = norm.eps, .weights_are_old = true};
}

namespace detail {

// Whether those products, of x [..., dim], can take the norm in.
template <class Norm>
bool can_be_a_step(const Norm& norm, const Tensor& x) {
  const GemvFusion steps = normed_by(norm);
  const auto fits = [&](const Tensor& t) {
    if (x.is_cuda()) return is_whole_vectors(t);
    return t.is_contiguous() && t.scalar_type() == x.scalar_type();
  };
  return fits(steps.norm) && (!steps.norm_bias.defined() || fits(steps.norm_bias)) &&
         (x.is_cpu() || steps.norm.numel() <= kMaxNormedWidth);
}

}  // namespace detail

}  // namespace morphvlm
