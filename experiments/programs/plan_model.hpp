// Plans of published models by name.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/plan/fit.hpp"

namespace morphvlm::experiments {

/// Which model, and which adapters in it.
struct PlannedModel {
  std::string model = "open_llama_3b";  ///< one of planned_models(), or a model folder
  std::string adapter = "LoRA<Attn>";   ///< one of planned_adapters()
  std::string base = "plain";           ///< or nf4: 4-bit frozen projections, for LoRA<Attn>
  bool stream_base = false;             ///< these stay in the host's memory; for LoRA<Attn>
  std::int64_t every = 4;               ///< language-model layers to a gated block; a folder says its own
  LoRAConfig lora = {};
};

/// A model ready to be planned.
struct Plannable {
  std::string type = {};    ///< as C++ spells it
  std::int64_t layers = 0;  ///< of the language model
  PlanOf plan = {};
};

/// The names of language models, around each of which a Flamingo with ViT-L/14 is built.
std::vector<std::string> planned_models();

/// The adapter policies that are compiled.
std::vector<std::string> planned_adapters();

/// Of a model folder (docs/models.md) its configs alone are read. Errors: a name that is not in the lists and
/// no folder, a config that is wrong.
Plannable plannable(const PlannedModel& asked);

}  // namespace morphvlm::experiments
