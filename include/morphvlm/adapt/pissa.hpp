// PiSSA (Meng et al. 2024): a low-rank adapter that starts as the largest singular values of its weight.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/linalg_svd.h>
#include <ATen/ops/matmul.h>

#include <algorithm>
#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// Gives the factors A [rank, in] and B [out, rank] the `rank` largest singular values of `weight` [out, in],
/// their roots on both sides, so that scale * B A is the part of the weight that they make up. Returns what
/// is left of the weight, in its dtype. The factors keep their dtype and whether they are trained; where they
/// had no memory, they are on the weight's device. PyTorch equivalent: PEFT's `init_lora_weights="pissa"`.
/// Error: a weight that is not finite, or has fewer singular values.
inline Tensor start_as_pissa(Tensor& lora_A, Tensor& lora_B, double scale, const Tensor& weight) {
  at::NoGradGuard no_grad;
  const auto rank = lora_A.size(0), most = std::min(weight.size(0), weight.size(1));
  expect(rank <= most, "PiSSA: expected a rank of at most ", most, ", as many as a weight ",
         to_string(weight.sizes()), " has singular values, found ", rank);
  const Tensor wide = weight.detach().to(lora_A.scalar_type());
  expect(wide.isfinite().all().item<bool>(), "PiSSA: expected a weight of finite numbers");
  const auto [u, s, vh] = at::linalg_svd(wide, false);
  const Tensor root = s.slice(0, 0, rank).div(scale).sqrt();
  const auto put = [](Tensor& factor, const Tensor& value) {
    const auto device = factor.is_meta() ? value.device() : factor.device();
    factor = value.contiguous().to(device).set_requires_grad(factor.requires_grad());
  };
  put(lora_A, vh.slice(0, 0, rank).mul(root.unsqueeze(1)));
  put(lora_B, u.slice(1, 0, rank).mul(root));
  const Tensor part = at::matmul(lora_B, lora_A).mul_(scale).to(weight.device());
  return wide.sub(part).to(weight.scalar_type());
}

}  // namespace morphvlm
