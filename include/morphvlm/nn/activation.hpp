// Activations that checkpoints ask for by name.
#pragma once

#include <ATen/ops/gelu.h>
#include <ATen/ops/sigmoid.h>

#include <array>
#include <string_view>
#include <utility>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// `quick_gelu` is OpenAI CLIP's x * sigmoid(1.702 x); `gelu` the exact (erf) one.
enum class Activation { quick_gelu, gelu };

template <>
inline constexpr std::array<std::pair<Activation, std::string_view>, 2> enum_names<Activation>{
    {{Activation::quick_gelu, "quick_gelu"}, {Activation::gelu, "gelu"}}};

/// Applies the activation elementwise.
inline Tensor activate(const Tensor& x, Activation kind) {
  return kind == Activation::gelu ? at::gelu(x) : x.mul(at::sigmoid(x.mul(1.702)));
}

}  // namespace morphvlm
