// What goes along with a product of few rows, so that no pass over the activations is left beside it.
#pragma once

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// What a product of few rows does before and behind the product, each step rounded as if it had been stored.
/// Tensors are on the product's device, contiguous, in its dtype, or undefined for steps that are left out.
struct GemvFusion {
  Tensor norm = {};         ///< [in]: x is normed over its rows and times this
  Tensor norm_bias = {};    ///< [in]: plus this
  double eps = 0;           ///< of the norm
  bool is_centred = false;  ///< LayerNorm; else RMSNorm
  bool gelu = false;        ///< of the product
  Tensor gate = {};         ///< [1]: the product times its tanh
  Tensor onto = {};         ///< [..., out]: plus this
  /// The weights were written long ago: on CUDA they are asked for while the kernel ahead still runs.
  bool weights_are_old = false;
};

}  // namespace morphvlm
