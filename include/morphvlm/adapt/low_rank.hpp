// Low-rank adaptation (Hu et al. 2021): y += scale * B (A x).
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_unsafe_view.h>
#include <ATen/ops/addmm.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/matmul.h>
#include <ATen/ops/zeros.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>

#include "morphvlm/adapt/pissa.hpp"
#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/meta_device.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/kernels/cpu/affine.hpp"

namespace morphvlm {

/// How the two factors start; PEFT: `init_lora_weights`.
enum class LoRAInit : std::uint8_t {
  kaiming,  ///< A uniform, B zero: nothing is added to the weight at first
  pissa     ///< from the weight's largest singular values, which the weight then lacks; see pissa_start
};

/// Ours; PEFT's are true and "pissa".
template <>
inline constexpr std::array<std::pair<LoRAInit, std::string_view>, 2> enum_names<LoRAInit>{
    {{LoRAInit::kaiming, "kaiming"}, {LoRAInit::pissa, "pissa"}}};

/// What a LoRA adapter is like, wherever it sits. Defaults: Multimodal-GPT's configs/lora_config.py.
struct LoRAConfig {
  std::int64_t rank = 16;  ///< PEFT: `r`; at least 1
  double alpha = 16;       ///< PEFT: `lora_alpha`; see scale
  /// PEFT: `use_rslora`; scale alpha / sqrt(rank) (rsLoRA) instead of alpha / rank.
  bool rank_stabilized = false;
  LoRAInit init = LoRAInit::kaiming;  ///< how the factors start

  /// The factor of B(A x).
  double scale() const {
    return alpha / (rank_stabilized ? std::sqrt(static_cast<double>(rank)) : static_cast<double>(rank));
  }
};

/// Far above any adapter: a larger rank is a slip, found before memory is taken for it.
inline constexpr std::int64_t kMostRank = 65536;

/// Their help and ranges.
template <>
inline constexpr auto field_notes<LoRAConfig> = std::to_array<FieldNote>(
    {{"rank", "an adapter's rank; PEFT's r", from_to(1, kMostRank)},
     {"alpha", "an adapter's scale times its rank; PEFT's lora_alpha", above(0, 1e6)},
     {"rank_stabilized", "the scale is alpha / sqrt(rank); PEFT's use_rslora"},
     {"init", "how the factors start: kaiming or pissa; PEFT's init_lora_weights"}});

/// No adapter: empty, so that a Linear carrying it is as small as one that never heard of adapters.
struct NoWeights {};

/// The two factors. Field names as PEFT's; masters are kept in the dtype they are given (fp32 by default) and
/// are cast to the activation's dtype on use. PyTorch equivalent: `peft.tuners.lora.Linear`, dropout 0.
struct LowRank {
  Tensor lora_A = {};   ///< [rank, in]
  Tensor lora_B = {};   ///< [out, rank]
  double scale = 1;     ///< factor of B(A x): LoRAConfig::scale
  bool merged = false;  ///< whether the term is in the base's weight already; see merge_adapters
  LoRAInit start = LoRAInit::kaiming;  ///< LoRAConfig::init
  bool base_is_residual = false;       ///< whether the weight lacks what the factors started with (PiSSA)

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
                    .scale = config.scale(),
                    .start = config.init};
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

  /// Whether start_from has anything to do, which is to put another weight in the base's place.
  bool changes_weight() const { return start == LoRAInit::pissa && !base_is_residual; }
  /// Whether start_from reads the weight.
  bool reads_weight() const { return changes_weight(); }

  /// Factors from the base's weight [out, in], where they start from it. Returns what is to take the weight's
  /// place; undefined where it stays.
  Tensor start_from(const Tensor& weight) {
    if (!changes_weight() || weight.is_meta()) return {};
    Tensor rest = start_as_pissa(lora_A, lora_B, scale, weight);
    base_is_residual = true;
    return rest;
  }

  /// The base's weight with this term in it, summed in at least fp32, as a tensor of its own in its dtype.
  Tensor merged_into(const Tensor& weight) const { return shifted(weight, 1); }
  /// The same in the weight's place; this adapter is silent from then on.
  void merge_into(Tensor& weight) {
    weight = merged_into(weight);
    merged = true;
  }
  /// The inverse of merge_into, up to one rounding of the weight.
  void take_out_of(Tensor& weight) {
    weight = shifted(weight, -1);
    merged = false;
  }

 private:
  Tensor shifted(const Tensor& weight, double sign) const {
    at::NoGradGuard no_grad;
    const Tensor delta = at::matmul(lora_B, lora_A).mul_(sign * scale);
    return weight.detach().to(delta.scalar_type()).add(delta).to(weight.scalar_type());
  }
};

}  // namespace morphvlm
