// Cross-entropy behind a frozen vocabulary head, without ever holding all logits.
#pragma once

#include <ATen/ops/empty_like.h>
#include <ATen/ops/full.h>
#include <ATen/ops/zeros.h>

#include <algorithm>
#include <cstdint>
#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"

namespace morphvlm {

/// Bytes of logits that frozen_head_loss holds at a time.
inline constexpr std::int64_t kLogitsBytes = std::int64_t{64} << 20;

namespace detail {

// The dtype that losses are computed in.
inline at::ScalarType loss_dtype(const Tensor& x) {
  return x.scalar_type() == at::kDouble ? at::kDouble : at::kFloat;
}

// The mean loss, from logits of `rows` rows at a time, and its gradient.
inline Tensor frozen_head_loss_in_parts(const Tensor& x, const Tensor& head, const Tensor& targets,
                                        std::int64_t rows, Tensor& gradient) {
  const auto count = x.size(0);
  Tensor total = at::zeros({}, x.options().dtype(loss_dtype(x)));
  gradient = at::empty_like(x, x.options().requires_grad(false));
  for (std::int64_t first = 0; first < count; first += rows) {
    const auto last = std::min(count, first + rows);
    const Tensor wanted = targets.slice(0, first, last).unsqueeze(1);
    Tensor logits = affine(x.slice(0, first, last), head).to(loss_dtype(x));
    // Softmax minus the target's one, all in the logits' own memory.
    logits.sub_(logits.amax(-1, true));
    const Tensor score = logits.gather(1, wanted);
    const Tensor normaliser = logits.exp_().sum(-1, true);
    total.add_(normaliser.log().sub_(score).sum());
    logits.div_(normaliser).scatter_add_(1, wanted, at::full(wanted.sizes(), -1, logits.options()));
    gradient.slice(0, first, last).copy_(times(logits.to(x.scalar_type()), head));
  }
  gradient.div_(static_cast<double>(count));
  return total.div_(static_cast<double>(count));
}

}  // namespace detail

/// Mean cross-entropy of predicting targets int64 [n] from x [n, dim] by the logits x head^T, head
/// [vocabulary, dim], for a head that is not trained. The gradient of x is formed along with the loss, chunk
/// by chunk: at most `bytes` of logits live at once, and nothing of them is kept for the backward pass.
inline Tensor frozen_head_loss(const Tensor& x, const Tensor& head, const Tensor& targets,
                               std::int64_t bytes = kLogitsBytes) {
  expect(!head.requires_grad(), "frozen_head_loss: the head is trained; its gradient would be lost");
  const auto row = head.size(0) * static_cast<std::int64_t>(c10::elementSize(detail::loss_dtype(x)));
  return autograd_function(
      {x},
      [&](std::vector<Tensor>& saved) {
        saved.resize(1);
        return detail::frozen_head_loss_in_parts(x, head.to(x.scalar_type()), targets,
                                                 std::max<std::int64_t>(1, bytes / row), saved[0]);
      },
      [](const BackwardCall& call) {
        const Tensor& gradient = call.saved[0];
        return std::vector<Tensor>{gradient.mul(call.grad.to(gradient.scalar_type()))};
      });
}

}  // namespace morphvlm
