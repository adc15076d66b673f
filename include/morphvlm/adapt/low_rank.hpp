// Low-rank adaptation (Hu et al. 2021): y += scale * B (A x).
#pragma once

#include <ATen/ops/_unsafe_view.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/zeros.h>

#include <cmath>
#include <cstdint>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"

namespace morphvlm {

/// What a LoRA adapter is like, wherever it sits. Defaults: Multimodal-GPT's configs/lora_config.py.
struct LoRAConfig {
  std::int64_t rank = 16;  ///< PEFT: `r`; at least 1
  double alpha = 16;       ///< PEFT: `lora_alpha`; see scale
  /// PEFT: `use_rslora`; scale alpha / sqrt(rank) (rsLoRA) instead of alpha / rank.
  bool rank_stabilized = false;

  /// The factor of B(A x).
  double scale() const {
    return alpha / (rank_stabilized ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank));
  }
};

/// No adapter: empty, so that a Linear carrying it is as small as one that never heard of adapters.
struct Plain {};

/// The two factors. Field names as PEFT's; masters are kept in the dtype they are given (fp32 by default) and
/// are cast to the activation's dtype on use. PyTorch equivalent: `peft.tuners.lora.Linear`, dropout 0.
struct LowRank {
  Tensor lora_A = {};   ///< [rank, in]
  Tensor lora_B = {};   ///< [out, rank]
  double scale = 1;     ///< factor of B(A x): LoRAConfig::scale
  bool merged = false;  ///< whether the term is in the base's weight already; see merge_adapters

  /// The term to be added to the base's output: x [..., in] -> [..., out]. Scaled where it is narrow.
  Tensor operator()(const Tensor& x) const {
    const Tensor low = affine(x, lora_A.to(x.scalar_type()));
    return affine(scale == 1 ? low : low.mul(scale), lora_B.to(x.scalar_type()));
  }

  /// y [..., out] plus this term of x [..., in], in y's memory, which the caller must own alone.
  Tensor add_to(Tensor y, const Tensor& x) const {  // NOLINT(*-value-param): the caller gives it up
    if (!detail::computes_like(x, c10::kCUDA)) return y.add_((*this)(x));
    // One product that adds, instead of one that writes and a sum that reads it. Not as views, which autograd
    // would have to follow.
    const auto shape = y.sizes().vec();
    const Tensor low = affine(x, lora_A.to(x.scalar_type()));
    Tensor rows = at::_unsafe_view(y, {-1, y.size(-1)});
    rows.addmm_(at::_unsafe_view(low, {-1, low.size(-1)}), lora_B.to(x.scalar_type()).t(), 1, scale);
    return at::_unsafe_view(rows, shape);
  }

  /// See reset.
  static LowRank init(std::int64_t in, std::int64_t out, const LoRAConfig& config,
                      const TensorOptions& options, at::Generator generator) {
    expect(config.rank > 0, "LoRA: rank must be positive, found ", config.rank);
    LowRank adapter{.lora_A = at::empty({config.rank, in}, options),
                    .lora_B = at::empty({out, config.rank}, options),
                    .scale = config.scale()};
    adapter.reset(options, std::move(generator));
    return adapter;
  }

  /// Fresh factors of the same shapes: A uniform in +-1/sqrt(in) (kaiming_uniform with a = sqrt 5, as PEFT),
  /// B zero, so that it starts as the identity.
  void reset(const TensorOptions& options, at::Generator generator) {
    const double bound = 1.0 / std::sqrt(static_cast<double>(lora_A.size(1)));
    lora_A = at::empty(lora_A.sizes(), options).uniform_(-bound, bound, std::move(generator));
    lora_B = at::zeros(lora_B.sizes(), options);
  }
};

}  // namespace morphvlm
