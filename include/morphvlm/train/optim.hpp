// AdamW over whatever a module has opened for training.
#pragma once

#include <ATen/core/grad_mode.h>
#include <ATen/ops/_foreach_add.h>
#include <ATen/ops/_foreach_mul.h>
#include <ATen/ops/_foreach_norm.h>
#include <ATen/ops/_fused_adamw.h>
#include <ATen/ops/linalg_vector_norm.h>
#include <ATen/ops/stack.h>
#include <ATen/ops/zeros.h>
#include <ATen/ops/zeros_like.h>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/nn/norm.hpp"

namespace morphvlm {

/// AdamW's numbers; defaults are torch's, but for the weight decay, which adapters do without.
struct AdamWConfig {
  double lr = 1e-4;         ///< peak rate, for reports: AdamW::step is told the rate of each step
  double beta1 = 0.9;       ///< share of exp_avg that a step keeps; in [0, 1)
  double beta2 = 0.999;     ///< share of exp_avg_sq that a step keeps; in [0, 1)
  double eps = 1e-8;        ///< added to the root of exp_avg_sq
  double weight_decay = 0;  ///< decoupled: a step shrinks parameters by the rate times this
  /// LoRA+ (Hayou et al. 2024): factor on the rate of LoRA's B and of all vectors, of which biases and layer
  /// norms then have no decay, as in PEFT's `create_loraplus_optimizer(loraplus_lr_ratio=...)`. 1: one rate
  /// and decay for all.
  double lora_plus_ratio = 1;
};

/// An exception for parameters whose name matches `pattern`; the first rule that matches counts. LoRA+'s
/// factor stays on top of it.
struct ParameterRule {
  std::string pattern;  ///< of the name in the module, as `matches` takes it: `*` is any run of characters
  double lr_scale = 1;  ///< factor on the rate of every step
  std::optional<double> weight_decay = {};  ///< none: AdamWConfig's
};

/// The greatest learning rate and weight decay that is no slip; far above what any recipe has.
inline constexpr double kMostRate = 1e6;

/// Their help and ranges.
template <>
inline constexpr auto field_notes<ParameterRule> =
    std::to_array<FieldNote>({{"pattern", "of parameters' names; * is any run of characters"},
                              {"lr_scale", "factor on the rate", from_to(0, kMostRate)},
                              {"weight_decay", "their own decay", from_to(0, kMostRate)}});

/// Parameters that share a learning-rate factor and a weight decay, with their moments.
struct AdamWGroup {
  double lr_scale = 1;                  ///< factor on the rate of every step
  double weight_decay = 0;              ///< as in AdamWConfig
  std::vector<std::string> names = {};  ///< of the parameters in their module
  std::vector<Tensor> parameters = {},  ///< handles of the module's tensors
      exp_avg = {},                     ///< running means of the gradients, shaped as the parameters
      exp_avg_sq = {},                  ///< running means of the squared gradients
      steps = {};                       ///< float []: updates so far, of each parameter

  /// A parameter with fresh moments.
  void add(const std::string& name, const Tensor& t) {
    names.push_back(name);
    parameters.push_back(t);
    exp_avg.push_back(at::zeros_like(t));
    exp_avg_sq.push_back(at::zeros_like(t));
    steps.push_back(at::zeros({}, t.options().dtype(at::kFloat).requires_grad(false)));
  }
};

namespace detail {

// See CollectTensors.
struct CollectLayerNorms {
  std::vector<std::string> found = {};

  template <class Node>
  void operator()(const std::string& name, Node&) {
    if constexpr (std::is_same_v<std::remove_const_t<Node>, LayerNorm>)
      found.push_back(name.empty() ? name : name + '.');
  }
};

// Rate factor and decay of a parameter without a rule.
class LoraPlusGroups {
 public:
  template <class M>
  LoraPlusGroups(M& module, const AdamWConfig& config) : config_(config) {
    if (config.lora_plus_ratio == 1) return;
    CollectLayerNorms collect;
    visit_modules(module, collect);
    norms_ = std::move(collect.found);
  }

  std::pair<double, double> of(const std::string& name, const Tensor& t) const {
    const bool is_fast = name.find("lora_B") != std::string::npos || t.dim() == 1;
    if (config_.lora_plus_ratio == 1 || !is_fast) return {1, config_.weight_decay};
    const bool decays = name.find("bias") == std::string::npos && !in_norm(name);
    return {config_.lora_plus_ratio, decays ? config_.weight_decay : 0};
  }

 private:
  bool in_norm(const std::string& name) const {
    return std::ranges::any_of(norms_, [&](const std::string& norm) { return name.starts_with(norm); });
  }

  const AdamWConfig& config_;
  std::vector<std::string> norms_ = {};
};

}  // namespace detail

/// PyTorch equivalent: `torch.optim.AdamW(fused=True)`.
struct AdamW {
  AdamWConfig config = {};              ///< betas and eps hold for all groups
  std::vector<AdamWGroup> groups = {};  ///< one for each pair of rate factor and weight decay

  /// Takes in all parameters of `module` that require gradients.
  template <class M>
  static AdamW over(M& module, const AdamWConfig& config, const std::vector<ParameterRule>& rules = {}) {
    AdamW optimizer{.config = config};
    const detail::LoraPlusGroups defaults(module, config);
    visit(module, [&](const std::string& name, Tensor& t) {
      if (!t.requires_grad()) return;
      auto [scale, decay] = defaults.of(name, t);
      for (const auto& rule : rules) {
        if (!matches(name, rule.pattern)) continue;
        scale *= rule.lr_scale;
        decay = rule.weight_decay.value_or(decay);
        break;
      }
      optimizer.group(scale, decay).add(name, t);
    });
    return optimizer;
  }

  /// Drops all gradients.
  void zero_grad() {
    for (auto& g : groups) {
      for (auto& p : g.parameters) p.mutable_grad().reset();
    }
  }

  /// One update at learning rate `lr` from the gradients that are there; parameters without one stay.
  void step(double lr) {
    at::NoGradGuard no_grad;
    for (auto& g : groups) {
      std::vector<Tensor> p, grad, m, v, n;
      for (std::size_t i = 0; i < g.parameters.size(); ++i) {
        if (!g.parameters[i].grad().defined()) continue;
        p.push_back(g.parameters[i]);
        grad.push_back(g.parameters[i].grad());
        m.push_back(g.exp_avg[i]);
        v.push_back(g.exp_avg_sq[i]);
        n.push_back(g.steps[i]);
      }
      if (p.empty()) continue;
      at::_foreach_add_(n, 1);
      at::_fused_adamw_(p, grad, m, v, {}, n, lr * g.lr_scale, config.beta1, config.beta2, g.weight_decay,
                        config.eps, false, false);
    }
  }

  /// The group with these settings, made if there is none.
  AdamWGroup& group(double lr_scale, double weight_decay) {
    for (auto& g : groups) {
      if (g.lr_scale == lr_scale && g.weight_decay == weight_decay) return g;
    }
    return groups.emplace_back(AdamWGroup{.lr_scale = lr_scale, .weight_decay = weight_decay});
  }
};

/// The norm of all gradients together; if it exceeds `max_norm` (> 0), they are scaled down to it. PyTorch
/// equivalent: `clip_grad_norm_`.
inline double clip_gradients(AdamW& optimizer, double max_norm) {
  at::NoGradGuard no_grad;
  std::vector<Tensor> gradients, norms;
  for (auto& g : optimizer.groups) {
    for (auto& p : g.parameters) {
      if (p.grad().defined()) gradients.push_back(p.mutable_grad());
    }
  }
  if (gradients.empty()) return 0;
  for (const auto& norm : at::_foreach_norm(gradients)) norms.push_back(norm.to(at::kDouble));
  const double norm = at::linalg_vector_norm(at::stack(norms)).item<double>();
  const double factor = max_norm / (norm + 1e-6);
  if (max_norm > 0 && factor < 1) at::_foreach_mul_(gradients, factor);
  return norm;
}

}  // namespace morphvlm
