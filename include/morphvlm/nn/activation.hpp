// Activations that checkpoints ask for by name.
#pragma once

#include <ATen/ops/gelu.h>
#include <ATen/ops/sigmoid.h>

#include <array>
#include <string_view>
#include <utility>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// `quick_gelu` is OpenAI CLIP's x * sigmoid(1.702 x); `gelu` the exact (erf) one; `gelu_tanh` its
/// approximation by tanh.
enum class Activation { quick_gelu, gelu, gelu_tanh };

/// Their names in configs.
template <>
inline constexpr std::array<std::pair<Activation, std::string_view>, 3> enum_names<Activation>{
    {{Activation::quick_gelu, "quick_gelu"},
     {Activation::gelu, "gelu"},
     {Activation::gelu_tanh, "gelu_pytorch_tanh"}}};

/// Applies the activation elementwise.
inline Tensor activate(const Tensor& x, Activation kind) {
  if (kind == Activation::quick_gelu) return x.mul(at::sigmoid(x.mul(1.702)));
  return at::gelu(x, kind == Activation::gelu_tanh ? "tanh" : "none");
}

}  // namespace morphvlm
