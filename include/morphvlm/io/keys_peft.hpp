// PEFT's spelling of adapters: which module of which tree a tensor belongs to.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "morphvlm/core/error.hpp"
#include "morphvlm/io/keys.hpp"

namespace morphvlm {

/// What PEFT wrapped, which its keys begin at.
enum class PeftTree {
  language_model,  ///< the plain language model of transformers, without gated blocks
  lang_encoder,    ///< OpenFlamingo's language encoder, gated blocks included (Multimodal-GPT's way)
  flamingo,        ///< OpenFlamingo's whole model
};

/// A tensor of an adapter file: one of a module's two factors, or its magnitudes.
struct PeftKey {
  std::string module;  ///< as the wrapped model names it, without "base_model.model."
  char factor = 'A';   ///< or 'B', or 'M' for DoRA's magnitudes
};

/// What PEFT, and our adapters' fields, call a factor of PeftKey's.
inline std::string_view peft_factor_name(char factor) {
  return factor == 'M' ? "lora_magnitude_vector" : factor == 'B' ? "lora_B" : "lora_A";
}

namespace detail {

inline constexpr std::string_view kLanguagePrefix = "lang_encoder.";
inline constexpr std::string_view kPeftPrefix = "base_model.model.";

inline void remove_prefix(std::string& text, std::string_view prefix) {
  if (text.starts_with(prefix)) text.erase(0, prefix.size());
}

}  // namespace detail

/// The name that our `module` ("lang_encoder.model.layers.0.self_attn.q_proj", "gated_cross_attn.0.ff.fc_in")
/// has in `tree`; `layers_path` and `every` as in openflamingo_key. Error: the tree has no such module.
inline std::string peft_module(const std::string& module, PeftTree tree, std::string_view layers_path,
                               std::int64_t every) {
  if (tree == PeftTree::language_model) {
    expect(!module.starts_with("gated_cross_attn."), module,
           ": a plain language model has no gated blocks; choose the language encoder or the whole model");
    std::string name = module;
    detail::remove_prefix(name, detail::kLanguagePrefix);
    return name;
  }
  constexpr std::string_view kWeight = ".weight";
  std::string key = openflamingo_key(module + std::string(kWeight), layers_path, every);
  key.resize(key.size() - kWeight.size());
  if (tree == PeftTree::lang_encoder) detail::remove_prefix(key, detail::kLanguagePrefix);
  return key;
}

/// One name for a module however PEFT's tree was rooted: that in the language encoder, without the level
/// `decoder_layer` and without OpenFlamingo's second registrations.
inline std::string peft_canonical(std::string module, std::string_view layers_path) {
  detail::remove_prefix(module, detail::kLanguagePrefix);
  const std::string layers = std::string(layers_path) + '.';
  if (auto [i, rest] = detail::split_index(module, "old_decoder_blocks."); i >= 0)
    return layers + std::to_string(i) + '.' + std::string(rest);
  if (auto [i, rest] = detail::split_index(module, "gated_cross_attn_layers."); i >= 0)
    return layers + std::to_string(i) + ".gated_cross_attn_layer." + std::string(rest);
  detail::replace_once(module, ".decoder_layer.", ".");
  return module;
}

/// The adapter site of a module by its canonical name; empty where no adapter can sit.
inline std::string_view peft_site(std::string_view canonical) {
  const auto has = [&](std::string_view part) { return canonical.find(part) != std::string_view::npos; };
  if (has(".gated_cross_attn_layer.attn.")) return "CrossAttn";
  if (has(".gated_cross_attn_layer.ff.")) return "CrossMlp";
  if (has(".self_attn.") || has(".attn.") || has(".attention.")) return "SelfAttn";
  if (has(".mlp.") || has(".ffn.") || canonical.ends_with(".fc1") || canonical.ends_with(".fc2"))
    return "Mlp";
  return {};
}

/// Takes a key apart: "[…]base_model.model.<module>.lora_A[.<adapter>].weight", or "….lora_magnitude_vector",
/// behind which state dicts have the adapter's name. Any other tensor is an Error led by `where`, since
/// leaving it out would be another model.
inline PeftKey parse_peft_key(std::string_view key, std::string_view where) {
  constexpr std::string_view kFactor = ".lora_", kWeight = ".weight", kMagnitude = "magnitude_vector";
  const auto at = key.rfind(kFactor);
  std::string_view factor = at == std::string_view::npos ? "" : key.substr(at + kFactor.size());
  if (factor.starts_with("A.") || factor.starts_with("B.")) {
    factor = factor.substr(0, key.ends_with(kWeight) ? 1 : 0);
  } else if (factor == kMagnitude || factor.starts_with(std::string(kMagnitude) + '.')) {
    factor = "M";
  } else {
    factor = "";
  }
  expect(
      !factor.empty(), where, ": tensor \"", key,
      "\" is none of LoRA's or DoRA's (….lora_A.weight, ….lora_B.weight, ….lora_magnitude_vector); biases, "
      "embeddings and modules saved whole are not supported");
  std::string module(key.substr(0, at));
  detail::replace_once(module, detail::kPeftPrefix, "");
  return {std::move(module), factor.front()};
}

}  // namespace morphvlm
