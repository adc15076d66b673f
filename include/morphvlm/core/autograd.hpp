// The two calls into autograd that training needs, without torch/torch.h.
#pragma once

#include <torch/csrc/autograd/autograd.h>

#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Adds d loss / d t to the gradient of every trainable tensor t that `loss` (a scalar) depends on.
/// PyTorch equivalent: `loss.backward()`.
inline void backward(const Tensor& loss) { torch::autograd::backward({loss}, {}); }

/// The gradient of y . dy with respect to `inputs`, without touching their `grad`. An input that y does not
/// depend on gets an undefined tensor. PyTorch equivalent: `torch.autograd.grad(y, inputs, dy,
/// allow_unused=True)`.
inline std::vector<Tensor> gradients(const Tensor& y, const std::vector<Tensor>& inputs, const Tensor& dy) {
  return torch::autograd::grad({y}, inputs, {dy}, std::nullopt, false, true);
}

}  // namespace morphvlm
