// The middle of a LLaMA feed-forward.
#pragma once

#include <ATen/ops/silu.h>
#include <ATen/ops/silu_backward.h>

#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/silu_times_cuda.hpp"

namespace morphvlm {

namespace detail {

inline Tensor plain_silu_times(const Tensor& gate, const Tensor& up) {
  return has_silu_times(gate) && has_silu_times(up) ? silu_times_on_cuda(gate, up) : at::silu(gate).mul_(up);
}

inline std::vector<Tensor> silu_times_gradients(const BackwardCall& call) {
  const auto &gate = call.saved[0], &up = call.saved[1], &grad = call.grad;
  const bool of_gate = call.wants(0), of_up = call.wants(1);
  if (has_silu_times(gate) && has_silu_times(up))
    return silu_times_backward_on_cuda(gate, up, grad.contiguous(), of_gate, of_up);
  return {of_gate ? at::silu_backward(grad.mul(up), gate) : Tensor{},
          of_up ? at::silu(gate).mul_(grad) : Tensor{}};
}

}  // namespace detail

/// silu(gate) * up, of which the backward pass keeps its two arguments and not silu(gate) as well: that is a
/// third of what a LLaMA feed-forward saves.
inline Tensor silu_times(const Tensor& gate, const Tensor& up) {
  return autograd_function(
      {gate, up},
      [&](std::vector<Tensor>& saved) {
        saved = {gate, up};
        return detail::plain_silu_times(gate, up);
      },
      detail::silu_times_gradients);
}

}  // namespace morphvlm
