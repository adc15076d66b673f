// Heads as LibTorch's attention on CUDA wants them: rotated, and filled up to whole vectors, in one kernel
// and one pass over memory. The operators this stands for take ten, and more in the backward pass.
#pragma once

#include <cstdint>
#include <vector>

#include "morphvlm/core/autograd_function.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cuda/cuda_kernel.hpp"
#include "morphvlm/kernels/cuda/turn_heads_cuda.hpp"
#include "morphvlm/nn/rope.hpp"

namespace morphvlm {

namespace detail {

// Widths before and behind, and the table if heads are rotated.
struct HeadTurn {
  std::int64_t dim = 0, in = 0, out = 0;
  RopeTable rope = {};
};

// x [batch, time, heads, turn.in] -> [batch, time, heads, turn.out], with its gradient.
inline Tensor turned_heads(const Tensor& x, const HeadTurn& turn) {
  return autograd_function(
      {x},
      [&](std::vector<Tensor>&) {
        return turn_heads(x.contiguous(), turn.rope.cos, turn.rope.sin, turn.dim, turn.out, false);
      },
      [turn](const BackwardCall& call) {
        return std::vector<Tensor>{
            turn_heads(call.grad.contiguous(), turn.rope.cos, turn.rope.sin, turn.dim, turn.in, true)};
      });
}

}  // namespace detail

/// The multiple that widths of BFloat16 heads are filled up to.
inline constexpr std::int64_t kHeadVector = 8;

/// Whether split_turned takes projections like q [batch, time, heads * dim]: BFloat16 on CUDA, a table for
/// whole heads, of which a quarter is whole.
inline bool has_turned_heads(const Tensor& q, const RopeTable& rope, std::int64_t dim) {
  return detail::computes_like(q, c10::kCUDA) && q.scalar_type() == at::kBFloat16 && dim % 4 == 0 &&
         (!rope.cos.defined() || (rope.cos.size(-1) == dim && rope.cos.scalar_type() == at::kBFloat16 &&
                                  rope.cos.is_contiguous() && rope.sin.is_contiguous())) &&
         (q.is_meta() || has_cuda_kernels());
}

/// x [batch, time, heads * dim] -> [batch, heads, time, w] for attention, w the next multiple of kHeadVector:
/// rotated by the table if it has one, and behind that zeros, which change no score.
inline Tensor split_turned(const Tensor& x, std::int64_t heads, const RopeTable& rope) {
  const auto dim = x.size(-1) / heads, width = (dim + kHeadVector - 1) / kHeadVector * kHeadVector;
  const detail::HeadTurn turn{.dim = dim, .in = dim, .out = width, .rope = rope};
  return detail::turned_heads(x.unflatten(-1, {heads, dim}), turn).transpose(1, 2);
}

/// The reverse for what attention gives, without rotation: [batch, heads, time, w] -> [batch, time, heads *
/// dim].
inline Tensor join_turned(const Tensor& x, std::int64_t dim) {
  const detail::HeadTurn turn{.dim = dim, .in = x.size(-1), .out = dim};
  return detail::turned_heads(x.transpose(1, 2), turn).flatten(-2);
}

}  // namespace morphvlm
