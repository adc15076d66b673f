// What training costs, counted, so that a noisy machine does not decide.
#pragma once

#include <ATen/ops/ne.h>

#include <cstdint>
#include <string>

#include "morphvlm/core/module.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/vlm/trainable.hpp"

namespace morphvlm::experiments {

/// FLOPs of training adapters: forward and the gradient of activations are two each for every weight that a
/// token meets, adapters' own gradients two more. Only supervised tokens go through the head.
struct TrainingCost {
  double per_token = 0, per_supervised = 0;

  template <class Model>
  static TrainingCost of_model(const Model& model) {
    double body = 0, adapters = 0, head = 0;
    visit(model, [&](const std::string& name, const Tensor& t) {
      if (matches(name, "vision_encoder.*") || matches(name, "perceiver.*") || t.dim() < 2) return;
      const auto n = static_cast<double>(t.numel());
      if (matches(name, "*embed*")) return;
      if (matches(name, "*lm_head*") || matches(name, "*output_projection*")) {
        head += n;
      } else if (matches(name, kAdapterParameters)) {
        adapters += n;
      } else {
        body += n;
      }
    });
    if (head == 0)
      head = static_cast<double>(model.config.language.vocab_size *
                                 Model::Language::hidden_dim(model.config.language));
    return {4 * body + 6 * adapters, 4 * head};
  }

  /// Of one batch.
  double of(const Batch& batch) const {
    const auto supervised = batch.labels.slice(1, 1).ne(kIgnoredLabel).sum().item<std::int64_t>();
    return static_cast<double>(batch.text.ids.numel()) * per_token +
           static_cast<double>(supervised) * per_supervised;
  }
};

}  // namespace morphvlm::experiments
