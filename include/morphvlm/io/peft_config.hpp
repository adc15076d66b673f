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
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"

namespace morphvlm {

/// PEFT's name of an adapter folder's config.
inline constexpr const char* kPeftConfig = "adapter_config.json";
/// PEFT's name of its tensors, which is looked for first.
inline constexpr const char* kPeftWeights = "adapter_model.safetensors";
/// PEFT's name of its tensors in older folders, a pickle.
inline constexpr const char* kPeftTorchWeights = "adapter_model.bin";

/// adapter_config.json. Where adapters sit is read from the tensors that are there; what is ignored matters
/// in training alone. An unknown key is taken where it says nothing: null, false, "none" or empty.
inline constexpr FileKey kPeftConfigKeys[] = {
    {"r"},
    {"lora_alpha"},
    {"use_rslora"},
    {"use_dora"},
    {"init_lora_weights"},
    {"peft_type", KeyUse::refused, "\"LORA\"", "null"},
    {"bias", KeyUse::refused, "\"none\""},
    {"fan_in_fan_out", KeyUse::refused, "false"},
    {"lora_bias", KeyUse::refused, "false"},
    {"use_qalora", KeyUse::refused, "false"},
    {"use_bdlora", KeyUse::refused, "false"},
    {"rank_pattern", KeyUse::refused, "{}"},
    {"alpha_pattern", KeyUse::refused, "{}"},
    {"modules_to_save", KeyUse::refused, "[]"},
    {"trainable_token_indices", KeyUse::refused, "[]\n{}"},
    {"layer_replication", KeyUse::refused, "[]"},
    {"target_parameters", KeyUse::refused, "[]"},
    {"alora_invocation_tokens", KeyUse::refused},
    {"megatron_config", KeyUse::refused, "{}"},
    {"arrow_config", KeyUse::refused},
    {"kasa_config", KeyUse::refused},
    {"velora_config", KeyUse::refused},
    {"monteclora_config", KeyUse::refused},
    {"target_modules", KeyUse::ignored},
    {"exclude_modules", KeyUse::ignored},
    {"layers_pattern", KeyUse::ignored},
    {"layers_to_transform", KeyUse::ignored},
    {"lora_dropout", KeyUse::ignored},
    {"ensure_weight_tying", KeyUse::ignored},
    {"qalora_group_size", KeyUse::ignored},
    {"loftq_config", KeyUse::ignored},
    {"eva_config", KeyUse::ignored},
    {"corda_config", KeyUse::ignored},
    {"lora_ga_config", KeyUse::ignored},
    {"megatron_core", KeyUse::ignored},
    {"runtime_config", KeyUse::ignored},
    {"inference_mode", KeyUse::ignored},
    {"task_type", KeyUse::ignored},
    {"auto_mapping", KeyUse::ignored},
    {"peft_version", KeyUse::ignored},
    {"base_model_name_or_path", KeyUse::ignored},
    {"revision", KeyUse::ignored},
};

namespace detail {

inline constexpr std::string_view kPeftSelections[] = {"exclude_modules", "layers_to_transform",
                                                       "layers_pattern"};

inline bool says_nothing(const Json& value) {
  return value.is_null() || value == false ||
         ((value.is_structured() || value.is_string()) && value.empty()) || value == "none";
}

// OLoRA, LoftQ and their like also change the base's weights, which a saved adapter does not hold. PiSSA does
// so by singular values, which are found again; not by a fast decomposition, which begins at random
// (pissa_niter_4).
inline void expect_plain_start(const Json& json, const std::string& where) {
  const auto it = json.find("init_lora_weights");
  if (it == json.end() || it->is_null() || it->is_boolean()) return;
  const bool known = *it == "gaussian" || *it == "eva" || *it == "orthogonal" || *it == "pissa";
  expect(known, where, ": init_lora_weights: ", it->dump(),
         " may change the base model's weights, which are not in this folder; convert the adapter to plain "
         "LoRA (PEFT: save_pretrained with path_initial_model_for_weight_conversion)");
}

}  // namespace detail

/// What of adapter_config.json decides the model's output.
struct PeftOptions {
  LoRAConfig lora = {};  ///< `r`, `lora_alpha`, `use_rslora`, and whether `init_lora_weights` is "pissa"
  bool dora = false;     ///< `use_dora`
};

/// The adapter's kind, size and scale from the text of adapter_config.json. `where` (the file) leads every
/// message. An option that changes the model's output and is not supported is an Error that names it; so is
/// one that is not known, unless it is null, false, "none" or empty.
inline PeftOptions parse_peft_config(const Json& json, const std::string& where) {
  expect(json.is_object(), where, ": expected an object, found ", json.dump());
  detail::expect_plain_start(json, where);
  refuse_keys(json, kPeftConfigKeys, where);
  for (const auto& [key, value] : json.items()) {
    const bool known = std::ranges::find(kPeftConfigKeys, std::string_view(key), &FileKey::name) !=
                       std::end(kPeftConfigKeys);
    expect(known || detail::says_nothing(value), where, ": ", key, ": ", value.dump(), " is not supported");
  }
  const auto flag = [&](const char* key) {
    return json.contains(key) && !json.at(key).is_null() && json_get<bool>(json, key, where);
  };
  const bool pissa = json.contains("init_lora_weights") && json.at("init_lora_weights") == "pissa";
  const LoRAConfig config{.rank = json_get<std::int64_t>(json, "r", where),
                          .alpha = json_get<double>(json, "lora_alpha", where),
                          .rank_stabilized = flag("use_rslora"),
                          .init = pissa ? LoRAInit::pissa : LoRAInit::kaiming};
  expect(config.rank > 0 && config.rank <= kMostRank, where, ": r: expected 1 to ", kMostRank, ", found ",
         config.rank);
  expect(std::isfinite(config.alpha) && config.alpha > 0, where,
         ": lora_alpha: expected a positive number (an adapter of alpha 0 adds nothing), found ",
         config.alpha);
  return {config, flag("use_dora")};
}

/// adapter_config.json for adapters on `target_modules` of a model called `base_model` (may be empty).
inline Json peft_config_json(const PeftOptions& options, const std::vector<std::string>& target_modules,
                             const std::string& base_model, bool causal_lm) {
  const LoRAConfig& config = options.lora;
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
               {"use_dora", options.dora},
               {"modules_to_save", nullptr},
               {"init_lora_weights", true},
               {"layers_to_transform", nullptr},
               {"layers_pattern", nullptr},
               {"rank_pattern", Json::object()},
               {"alpha_pattern", Json::object()}};
  if (config.init == LoRAInit::pissa) json["init_lora_weights"] = "pissa";
  if (whole) json["lora_alpha"] = static_cast<std::int64_t>(config.alpha);
  if (!base_model.empty()) json["base_model_name_or_path"] = base_model;
  if (causal_lm) json["task_type"] = "CAUSAL_LM";
  return json;
}

}  // namespace morphvlm
