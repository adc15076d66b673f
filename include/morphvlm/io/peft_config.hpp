// PEFT's adapter_config.json: what of it decides the model's output is honoured, and the rest refused by
// name.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"

namespace morphvlm {

/// PEFT's name of an adapter folder's config.
inline constexpr const char* kPeftConfig = "adapter_config.json";
/// PEFT's name of its tensors, which is looked for first.
inline constexpr const char* kPeftWeights = "adapter_model.safetensors";
/// PEFT's name of its tensors in older folders, a pickle.
inline constexpr const char* kPeftTorchWeights = "adapter_model.bin";

namespace detail {

// Where adapters sit is read from the tensors that are there; the others matter in training alone.
inline constexpr std::string_view kPeftHarmless[] = {"task_type",
                                                     "auto_mapping",
                                                     "peft_version",
                                                     "base_model_name_or_path",
                                                     "revision",
                                                     "inference_mode",
                                                     "lora_dropout",
                                                     "megatron_core",
                                                     "loftq_config",
                                                     "eva_config",
                                                     "corda_config",
                                                     "lora_ga_config",
                                                     "target_modules",
                                                     "exclude_modules",
                                                     "layers_pattern",
                                                     "layers_to_transform",
                                                     "ensure_weight_tying",
                                                     "qalora_group_size",
                                                     "runtime_config",
                                                     "r",
                                                     "lora_alpha",
                                                     "use_rslora",
                                                     "init_lora_weights"};

inline constexpr std::string_view kPeftSelections[] = {"exclude_modules", "layers_to_transform",
                                                       "layers_pattern"};

inline bool says_nothing(const Json& value) {
  return value.is_null() || value == false ||
         ((value.is_structured() || value.is_string()) && value.empty()) || value == "none";
}

// PiSSA, OLoRA, LoftQ and their like also change the base's weights, which a saved adapter does not hold.
inline void expect_plain_start(const Json& json, const std::string& where) {
  if (!json.contains("init_lora_weights")) return;
  const Json& start = json.at("init_lora_weights");
  const bool plain =
      start.is_null() || start.is_boolean() || start == "gaussian" || start == "eva" || start == "orthogonal";
  expect(plain, where, ": init_lora_weights: ", start.dump(),
         " changes the base model's weights, which are not in this folder; convert the adapter to plain LoRA "
         "(PEFT: save_pretrained with path_initial_model_for_weight_conversion)");
}

}  // namespace detail

/// The adapter's size and scale from the text of adapter_config.json. `where` (the file) leads every message.
/// An option that changes the model's output and is not supported is an Error that names it; so is one that
/// is not known, unless it is null, false, "none" or empty.
inline LoRAConfig parse_peft_config(const Json& json, const std::string& where) {
  const auto type = json_get<std::string>(json, "peft_type", where);
  expect(type == "LORA", where, ": peft_type: expected LORA, found ", type);
  detail::expect_plain_start(json, where);
  for (const auto& [key, value] : json.items()) {
    const bool known = key == "peft_type" ||
                       std::ranges::find(detail::kPeftHarmless, key) != std::end(detail::kPeftHarmless);
    expect(known || detail::says_nothing(value), where, ": ", key, ": ", value.dump(), " is not supported");
  }
  LoRAConfig config{.rank = json_get<std::int64_t>(json, "r", where),
                    .alpha = json_get<double>(json, "lora_alpha", where),
                    .rank_stabilized = json.contains("use_rslora") && json.at("use_rslora") == true};
  expect(config.rank > 0, where, ": r: expected a positive number, found ", config.rank);
  expect(std::isfinite(config.alpha), where, ": lora_alpha is not a finite number");
  return config;
}

/// adapter_config.json for adapters on `target_modules` of a model called `base_model` (may be empty).
inline Json peft_config_json(const LoRAConfig& config, const std::vector<std::string>& target_modules,
                             const std::string& base_model, bool causal_lm) {
  const bool whole = config.alpha == std::floor(config.alpha) && std::abs(config.alpha) < 1e15;
  Json json = {{"peft_type", "LORA"},
               {"auto_mapping", nullptr},
               {"base_model_name_or_path", nullptr},
               {"revision", nullptr},
               {"task_type", nullptr},
               {"inference_mode", true},
               {"r", config.rank},
               {"target_modules", target_modules},
               {"lora_alpha", config.alpha},
               {"lora_dropout", 0.0},
               {"fan_in_fan_out", false},
               {"bias", "none"},
               {"use_rslora", config.rank_stabilized},
               {"modules_to_save", nullptr},
               {"init_lora_weights", true},
               {"layers_to_transform", nullptr},
               {"layers_pattern", nullptr},
               {"rank_pattern", Json::object()},
               {"alpha_pattern", Json::object()}};
  if (whole) json["lora_alpha"] = static_cast<std::int64_t>(config.alpha);
  if (!base_model.empty()) json["base_model_name_or_path"] = base_model;
  if (causal_lm) json["task_type"] = "CAUSAL_LM";
  return json;
}

}  // namespace morphvlm
