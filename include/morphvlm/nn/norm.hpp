// Normalisation over the last dimension.
#pragma once

#include <ATen/ops/layer_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/rms_norm.h>
#include <ATen/ops/zeros.h>

#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// PyTorch equivalent: `nn.LayerNorm`.
struct LayerNorm {
  Tensor weight = {};  ///< [dim]
  Tensor bias = {};    ///< [dim], or undefined
  double eps = 1e-5;

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

/// x / sqrt(mean(x^2) + eps) * weight, the mean in fp32 also for 16-bit activations (as HF's LlamaRMSNorm).
struct RMSNorm {
  Tensor weight = {};  ///< [dim]
  double eps = 1e-6;

  /// [..., dim] -> [..., dim]
  Tensor operator()(const Tensor& x) const {
    return at::rms_norm(x, weight.sizes(), weight.to(x.scalar_type()), eps);
  }

  /// Ones.
  static RMSNorm init(std::int64_t dim, const Init& init, double eps = 1e-6) {
    return {.weight = at::ones({dim}, init.options), .eps = eps};
  }
};

}  // namespace morphvlm
