// Operations whose gradient is written by hand. LibTorch's own template for them is compiled for each anew,
// tracing for its compiler included: a second an operation in every unit, five for the first.
#pragma once

#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <algorithm>
#include <concepts>
#include <cstddef>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// What the gradient of an operation is made from.
struct BackwardCall {
  const Tensor& grad;                 ///< of the output
  const std::vector<Tensor>& saved;   ///< what the forward pass has kept
  const torch::autograd::Node& node;  ///< of this call

  /// Whether the input at this place needs a gradient.
  bool wants(std::size_t input) const { return node.task_should_compute_output(input); }
};

/// Gradients of the inputs, in their order; undefined where there is none, or none is wanted.
using Backward = std::function<std::vector<Tensor>(const BackwardCall&)>;

namespace detail {

inline bool needs_grad(const Tensor& t) { return t.defined() && t.requires_grad(); }
// Whether what is made of it now has a backward pass.
inline bool is_recorded(const Tensor& t) { return at::GradMode::is_enabled() && needs_grad(t); }

struct BackwardNode : torch::autograd::Node {
  std::vector<torch::autograd::SavedVariable> saved = {};
  Backward backward = {};

  torch::autograd::variable_list apply(torch::autograd::variable_list&& grads) override {
    const std::scoped_lock lock(mutex_);  // LibTorch's engine may come from several threads
    expect(backward != nullptr, "backward: a second time, but what it needs was freed after the first");
    std::vector<Tensor> tensors;
    for (const auto& s : saved) tensors.push_back(s.unpack());
    const Tensor grad = grads[0].defined() ? grads[0] : input_metadata(0).zeros_like();
    return backward({.grad = grad, .saved = tensors, .node = *this});
  }
  void release_variables() override {
    saved.clear();
    backward = nullptr;
  }
};

}  // namespace detail

/// forward(saved), of which autograd sees `inputs` (undefined ones too), a new tensor that comes out, and
/// `backward`, and none of the operations inside. `saved` is what forward puts there for the backward pass,
/// inputs or new tensors; changing one in place before that is LibTorch's error. `backward` keeps what else
/// it needs. PyTorch equivalent: `torch.autograd.Function`.
template <class F, std::convertible_to<Backward> B>
Tensor autograd_function(const std::vector<Tensor>& inputs, F&& forward, B&& backward) {
  std::vector<Tensor> saved;
  const auto run = [&] {
    const at::AutoGradMode not_inside(false);
    return std::forward<F>(forward)(saved);
  };
  if (std::ranges::none_of(inputs, detail::is_recorded)) return run();
  const std::shared_ptr<detail::BackwardNode> node(new detail::BackwardNode, torch::autograd::deleteNode);
  node->set_next_edges(torch::autograd::collect_next_edges(inputs));
  Tensor out = run();
  for (const auto& t : saved) node->saved.emplace_back(t, false);
  node->backward = std::forward<B>(backward);
  torch::autograd::set_history(out, node);
  return out;
}

}  // namespace morphvlm
