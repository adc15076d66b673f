// Which parts of a VLM are trained, and the gates' policy.
#pragma once

#include <ATen/core/grad_mode.h>

#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/nn/batch_norm.hpp"

namespace morphvlm {

/// The parts that receive gradients. Gates follow `GatePolicy`, not this.
struct TrainableParts {
  bool adapters = true;                ///< all of them, wherever they sit
  bool perceiver = false;              ///< the resampler
  bool gated_cross_attention = false;  ///< base weights of the gated blocks
  bool vision = false;                 ///< the tower, but for the statistics of batch norms
  bool language = false;               ///< base weights of the language model
};

/// Their help.
template <>
inline constexpr auto field_notes<TrainableParts> =
    std::to_array<FieldNote>({{"adapters", "train the adapters"},
                              {"perceiver", "train the resampler"},
                              {"gated_cross_attention", "train the gated blocks"},
                              {"vision", "train the vision tower"},
                              {"language", "train the language model"}});

/// Name patterns of adapter parameters and of gates in a VLM's state dict.
inline constexpr std::string_view kAdapterParameters = "*.adapter.*";  ///< of adapters
inline constexpr std::string_view kGates = "gated_cross_attn.*_gate";  ///< of gates

/// Freezes the whole model, then opens the named parts; gates are set and opened as the model's GatePolicy
/// says.
template <class Model>
void set_trainable_parts(Model& model, const TrainableParts& parts) {
  const auto& cross = model.config.cross_attention;
  freeze(model);
  if (parts.vision) {
    unfreeze(model, "vision_encoder.*");
    freeze(model, kBatchStatistics);
  }
  if (parts.perceiver) unfreeze(model, "perceiver.*");
  if (parts.language) unfreeze(model, "lang_encoder.*");
  if (parts.gated_cross_attention) unfreeze(model, "gated_cross_attn.*");
  set_trainable(model, kAdapterParameters, parts.adapters);
  set_trainable(model, kGates, cross.gates == GatePolicy::trainable);
  if (cross.gates == GatePolicy::frozen) {
    at::NoGradGuard no_grad;
    visit(model, [&](const std::string& name, Tensor& t) {
      if (matches(name, kGates)) t.fill_(cross.gate_value);
    });
  }
}

}  // namespace morphvlm
