// Weight-decomposed low-rank adaptation (DoRA, Liu et al. 2024): LoRA turns each row of the weight, and a
// magnitude of its own says how long the row is.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/matmul.h>

#include <cstdint>
#include <memory>
#include <utility>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/pissa.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// y = m / |W + scale B A| * (W x + scale B (A x)) + b, norms taken over each row of the weight and, as in
/// the paper's section 4.3, without a gradient. Every call reads the weight once more for them; merge where
/// nothing is trained. Field names as PEFT's. PyTorch equivalent: `peft.LoraConfig(use_dora=True)`, dropout
/// 0.
struct WeightDecomposed {
  Tensor lora_A = {};                  ///< [rank, in]
  Tensor lora_B = {};                  ///< [out, rank]
  Tensor lora_magnitude_vector = {};   ///< [out], the length m of each row
  double scale = 1;                    ///< factor of B(A x): LoRAConfig::scale
  bool merged = false;                 ///< see LowRank::merged
  LoRAInit start = LoRAInit::kaiming;  ///< LoRAConfig::init
  bool base_is_residual = false;       ///< see LowRank::base_is_residual
  /// What merging multiplied each row with, [out]; a merged weight does not tell it.
  std::shared_ptr<const Tensor> merged_factor = {};

  /// The adapted projection of x [..., in]: [..., out]. `base`: a BaseProjection.
  template <class Base>
  Tensor project(const Tensor& x, const Base& base) const {
    const auto dtype = x.scalar_type();
    const Tensor rows = factor(base.dense_weight(lora_A.scalar_type()));
    const Tensor y = low_rank().add_to(base.base_product(x), x);
    // In 16 bits a factor near 1 would be rounded to it.
    const Tensor out = y.mul(rows).to(dtype);
    return base.bias.defined() ? out.add(base.bias.to(dtype)) : out;
  }

  /// See reset; without a weight, magnitudes have no value until start_from.
  static WeightDecomposed init(std::int64_t in, std::int64_t out, const LoRAConfig& config,
                               const TensorOptions& options, at::Generator generator) {
    auto factors = LowRank::init(in, out, config, options, std::move(generator));
    return {.lora_A = std::move(factors.lora_A),
            .lora_B = std::move(factors.lora_B),
            .lora_magnitude_vector = at::empty({out}, options),
            .scale = factors.scale,
            .start = factors.start};
  }

  /// Fresh factors of the same shapes, see LowRank::reset; magnitudes are then start_from's.
  void reset(const TensorOptions& options, at::Generator generator) {
    LowRank factors = low_rank();
    factors.reset(options, std::move(generator));
    lora_A = factors.lora_A;
    lora_B = factors.lora_B;
    lora_magnitude_vector = at::empty(lora_magnitude_vector.sizes(), options);
  }

  /// Whether start_from puts another weight in the base's place.
  bool changes_weight() const { return low_rank().changes_weight(); }
  /// Whether start_from reads the weight.
  bool reads_weight() const { return true; }

  /// Magnitudes that are the norms of the base's weight [out, in] with the factors in it, so that they change
  /// nothing; factors as LowRank::start_from, whose result this returns.
  Tensor start_from(const Tensor& weight) {
    if (weight.is_meta()) return {};
    Tensor rest;
    if (changes_weight()) {
      rest = start_as_pissa(lora_A, lora_B, scale, weight);
      base_is_residual = true;
    }
    if (lora_B.is_meta()) return rest;
    const bool trained = lora_magnitude_vector.requires_grad();
    lora_magnitude_vector = norms(rest.defined() ? rest : weight).set_requires_grad(trained);
    return rest;
  }

  /// See LowRank::merged_into.
  Tensor merged_into(const Tensor& weight) const {
    at::NoGradGuard no_grad;
    return scaled_rows(with_term(weight), factor(weight)).to(weight.scalar_type());
  }
  /// See LowRank::merge_into.
  void merge_into(Tensor& weight) {
    at::NoGradGuard no_grad;
    merged_factor = std::make_shared<const Tensor>(factor(weight));
    weight = scaled_rows(with_term(weight), *merged_factor).to(weight.scalar_type());
    merged = true;
  }
  /// See LowRank::take_out_of. Error: a magnitude of 0, whose row a merged weight has lost.
  void take_out_of(Tensor& weight) {
    at::NoGradGuard no_grad;
    const Tensor rows = merged_factor->to(weight.device());
    expect(rows.ne(0).all().item<bool>(),
           "DoRA: a magnitude is 0, so its row of the merged weight does not tell what it was; load the base "
           "again");
    const Tensor wide = scaled_rows(weight.detach().to(lora_A.scalar_type()), rows.reciprocal());
    weight = wide.sub(at::matmul(lora_B, lora_A).mul_(scale)).to(weight.scalar_type());
    merged_factor.reset();
    merged = false;
  }

 private:
  LowRank low_rank() const {
    return {.lora_A = lora_A,
            .lora_B = lora_B,
            .scale = scale,
            .start = start,
            .base_is_residual = base_is_residual};
  }
  // W + scale B A, in the factors' dtype.
  Tensor with_term(const Tensor& weight) const {
    return at::matmul(lora_B, lora_A).mul_(scale).add_(weight.detach());
  }
  // A row of zeros has no direction, and no gradient that could give it one by way of a division by 0.
  Tensor norms(const Tensor& weight) const {
    at::NoGradGuard no_grad;
    return at::linalg_vector_norm(with_term(weight), 2, {1});
  }
  Tensor factor(const Tensor& weight) const {
    return lora_magnitude_vector.div(norms(weight).clamp_min(1e-30));
  }
  static Tensor scaled_rows(const Tensor& weight, const Tensor& rows) {
    return weight.mul(rows.unsqueeze(1));
  }
};

}  // namespace morphvlm
