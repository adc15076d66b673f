// What checkpoints of OpenFlamingo, and of the models inside them, call the same parameter: wrappers'
// prefixes, second registrations, tied heads, buffers.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/keys.hpp"

namespace morphvlm {

namespace detail {

inline constexpr std::string_view kLanguage = "lang_encoder.";
inline constexpr std::string_view kOldBlocks = "lang_encoder.old_decoder_blocks.";
inline constexpr std::string_view kGatedLayers = "lang_encoder.gated_cross_attn_layers.";

inline std::string layers_of(std::string_view layers_path) {
  return std::string(kLanguage) + std::string(layers_path) + '.';
}

// Wrappers of distributed training and of the compiler put themselves between the names.
inline void remove_wrappers(std::string& key) {
  for (const std::string_view wrapper :
       {"_fsdp_wrapped_module.", "_checkpoint_wrapped_module.", "_orig_mod."}) {
    for (auto at = key.find(wrapper); at != std::string::npos; at = key.find(wrapper))
      key.erase(at, wrapper.size());
  }
  if (key.starts_with("module.")) key.erase(0, 7);
}

}  // namespace detail

/// The one spelling of a key of OpenFlamingo's state dict: without wrappers' names, and where a parameter is
/// registered twice, the name below the language model's own list of layers.
inline std::string openflamingo_canonical(std::string key, std::string_view layers_path) {
  detail::remove_wrappers(key);
  const std::string layers = detail::layers_of(layers_path);
  if (auto [i, rest] = detail::split_index(key, detail::kOldBlocks); i >= 0)
    return layers + std::to_string(i) + ".decoder_layer." + std::string(rest);
  if (auto [i, rest] = detail::split_index(key, detail::kGatedLayers); i >= 0)
    return layers + std::to_string(i) + ".gated_cross_attn_layer." + std::string(rest);
  return key;
}

/// The second name under which OpenFlamingo registers the parameter `key`; empty where there is none.
inline std::string openflamingo_alias(std::string_view key, std::string_view layers_path) {
  const auto [i, rest] = detail::split_index(key, detail::layers_of(layers_path));
  if (i < 0) return {};
  constexpr std::string_view kDecoder = "decoder_layer.", kGated = "gated_cross_attn_layer.";
  const std::string index = std::to_string(i) + '.';
  if (rest.starts_with(kDecoder))
    return std::string(detail::kOldBlocks) + index + std::string(rest.substr(kDecoder.size()));
  if (rest.starts_with(kGated))
    return std::string(detail::kGatedLayers) + index + std::string(rest.substr(kGated.size()));
  return {};
}

/// Names that a language model's head goes by, relative to the language model. Files of models with a tied
/// head may hold it all the same.
inline constexpr std::array<std::string_view, 3> kHeadKeys{"lm_head.weight", "output_projection.weight",
                                                           "embed_out.weight"};

/// The head's name in transformers' state dict of the language model at `layers_path`.
inline std::string_view head_key(std::string_view layers_path) {
  return layers_path == "biogpt.layers" ? kHeadKeys[1] : kHeadKeys[0];
}

/// Buffers that older checkpoints hold although they follow from the config.
inline bool is_derived_buffer(std::string_view key) {
  return key.ends_with(".rotary_emb.inv_freq") || key.ends_with(".attention.bias") ||
         key.ends_with(".attention.masked_bias") || key.ends_with(".position_ids");
}

/// Renames a language model's weights from any spelling in use to `module`'s own: MPT's two, and GPT-NeoX's
/// head, which is embed_out in files and lm_head in later versions of transformers.
template <class M>
StateDict rename_language(const M& module, StateDict dict) {
  dict = rename_to_module(module, std::move(dict), hf_mpt_key);
  return rename_to_module(module, std::move(dict), [](std::string key) {
    detail::replace_once(key, "embed_out.", "lm_head.");
    return key;
  });
}

}  // namespace morphvlm
