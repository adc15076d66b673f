// Finding parameters that are trained in name only.
#pragma once

#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/train/optim.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm {

/// Optimizer steps (with a rate above 0) by which a parameter without any gradient is called dead. A live
/// LoRA factor A has its first gradient at the second step (B starts at zero), behind a gate that starts at
/// zero at the third.
inline constexpr std::int64_t kStepsToProveLife = 3;

/// Watches which trained tensors have ever had a gradient that is not exactly zero.
struct GradientWatch {
  std::vector<std::string> silent = {};  ///< names of those that have not, so far

  /// Starts with all trained tensors but those matching a pattern of `allowed`.
  static GradientWatch over(const AdamW& optimizer, const std::vector<std::string>& allowed) {
    GradientWatch watch;
    for (const auto& g : optimizer.groups) {
      for (const auto& name : g.names) {
        bool skip = false;
        for (const auto& pattern : allowed) skip |= matches(name, pattern);
        if (!skip) watch.silent.push_back(name);
      }
    }
    return watch;
  }

  /// Strikes off what has a gradient now.
  void observe(const AdamW& optimizer) {
    for (const auto& g : optimizer.groups) {
      for (std::size_t i = 0; i < g.names.size(); ++i) {
        const Tensor& grad = g.parameters[i].grad();
        if (grad.defined() && grad.ne(0).any().item<bool>()) std::erase(silent, g.names[i]);
      }
    }
  }

  /// An Error unless all have had one: which parameters have not, and which gates of `model` are shut for
  /// good.
  template <class Model>
  void expect_none(const Model& model) const {
    if (silent.empty()) return;
    std::string text = "dead parameters: the gradient of these was exactly zero in each of the first " +
                       std::to_string(kStepsToProveLife) + " steps:";
    for (const auto& name : silent) text += "\n  " + name;
    std::string shut;
    visit(model, [&](const std::string& name, const Tensor& t) {
      if (matches(name, kGates) && !t.requires_grad() && t.eq(0).all().template item<bool>())
        shut += "\n  " + name;
    });
    if (!shut.empty())
      text += "\nThese gates are exactly 0, are not trained, and cut off what is behind them:" + shut;
    fail(text,
         "\nOpen the gates (cross_attention.gates, cross_attention.gate_value), leave these parameters "
         "frozen, or "
         "name them in train.allow_dead to go on.");
  }
};

}  // namespace morphvlm
