// Batch normalisation by fixed statistics: how a trained convolutional network uses it.
#pragma once

#include <ATen/ops/batch_norm.h>
#include <ATen/ops/ones.h>
#include <ATen/ops/zeros.h>

#include <cstdint>
#include <string_view>

#include "morphvlm/core/init.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// PyTorch equivalent: `nn.BatchNorm2d` in evaluation mode. The statistics are tensors of the checkpoint but
/// no parameters: nothing here updates or trains them (see set_trainable_parts).
struct BatchNorm {
  Tensor weight = {};        ///< [channels]
  Tensor bias = {};          ///< [channels]
  Tensor running_mean = {};  ///< [channels]
  Tensor running_var = {};   ///< [channels]
  double eps = 1e-5;         ///< added to the variance

  /// [n, channels, height, width] -> the same
  Tensor operator()(const Tensor& x) const {
    const auto dtype = x.scalar_type();
    return at::batch_norm(x, weight.to(dtype), bias.to(dtype), running_mean.to(dtype), running_var.to(dtype),
                          /*training=*/false, /*momentum=*/0, eps, /*cudnn_enabled=*/true);
  }

  /// Leaves x as it is, but for eps.
  static BatchNorm init(std::int64_t channels, const Init& init, double eps) {
    return {.weight = at::ones({channels}, init.options),
            .bias = at::zeros({channels}, init.options),
            .running_mean = at::zeros({channels}, init.options),
            .running_var = at::ones({channels}, init.options),
            .eps = eps};
  }
};

/// Name pattern of the statistics in a state dict.
inline constexpr std::string_view kBatchStatistics = "*.running_*";

}  // namespace morphvlm
