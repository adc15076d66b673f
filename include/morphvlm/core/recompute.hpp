// Activation checkpointing (Chen et al. 2016): memory for the price of running forward twice.
#pragma once

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/autograd.h>

#include <algorithm>
#include <functional>
#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// A piece of a model as a function of the activations that enter it.
using Segment = std::function<Tensor(const std::vector<Tensor>&)>;

namespace detail {

// The gradients of a segment's inputs, by running it once more.
inline std::vector<Tensor> recomputed_gradients(const Segment& segment, const BackwardCall& call) {
  std::vector<Tensor> inputs;
  for (const auto& t : call.saved)
    inputs.push_back(t.defined() ? t.detach().set_requires_grad(t.requires_grad()) : t);
  Tensor out;
  {
    const at::AutoGradMode record(true);
    out = segment(inputs);
  }
  torch::autograd::backward({out}, {call.grad});
  std::vector<Tensor> result;
  for (const auto& t : inputs) result.push_back(t.defined() ? t.grad() : Tensor{});
  return result;
}

}  // namespace detail

/// segment(inputs), of which only the inputs are kept: the backward pass runs the segment once more.
/// Gradients of parameters inside are accumulated as they always are; results are the same to the last bit,
/// gradients but for the rounding of sums. All activations that need a gradient must come through `inputs`.
/// PyTorch equivalent: `torch.utils.checkpoint`, for segments without randomness.
inline Tensor recomputed(const Segment& segment, std::vector<Tensor> inputs) {
  if (!at::GradMode::is_enabled()) return segment(inputs);
  // Without an input that needs a gradient there would be no backward pass to the parameters inside.
  if (std::ranges::none_of(inputs, detail::needs_grad))
    inputs.front() = inputs.front().detach().set_requires_grad(true);
  return autograd_function(
      inputs,
      [&](std::vector<Tensor>& saved) {
        saved = inputs;
        return segment(inputs);
      },
      [segment](const BackwardCall& call) { return detail::recomputed_gradients(segment, call); });
}

/// f(x) for a function of `parts` of a module, recomputed if `is_wanted` and something in it needs a
/// gradient.
template <class F, class... Parts>
Tensor recomputed_if(bool is_wanted, const Tensor& x, const F& f, const Parts&... parts) {
  if (!is_wanted || !(x.requires_grad() || ((trainable_count(parts) > 0) || ...))) return f(x);
  return recomputed([f](const std::vector<Tensor>& in) { return f(in.front()); }, {x});
}

}  // namespace morphvlm
