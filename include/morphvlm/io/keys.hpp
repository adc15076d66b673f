// Spellings of state-dict keys elsewhere. Every rename between checkpoints and field names is in this file.
#pragma once

#include <array>
#include <charconv>
#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>

#include "morphvlm/core/state_dict.hpp"

namespace morphvlm {

namespace detail {

inline void replace_once(std::string& text, std::string_view from, std::string_view to) {
  if (const auto at = text.find(from); at != std::string::npos) text.replace(at, from.size(), to);
}

// "layers.12.rest" -> {12, "rest"} for prefix "layers."; the index is -1 where the key is of another kind.
inline std::pair<std::int64_t, std::string_view> split_index(std::string_view key, std::string_view prefix) {
  if (!key.starts_with(prefix)) return {-1, key};
  key.remove_prefix(prefix.size());
  std::int64_t index = -1;
  const auto [end, error] = std::from_chars(key.data(), key.data() + key.size(), index);
  const auto digits = static_cast<std::size_t>(end - key.data());
  if (error != std::errc{} || digits >= key.size() || key[digits] != '.') return {-1, key};
  return {index, key.substr(digits + 1)};
}

// The feed-forward is an nn.Sequential there: norm, Linear, GELU, Linear.
inline void rename_feed_forward(std::string& key, std::string_view ours, std::string_view theirs) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 3> parts{
      {{"norm.", "0."}, {"fc_in.", "1."}, {"fc_out.", "3."}}};
  for (const auto& [field, position] : parts) {
    replace_once(key, std::string(ours) + std::string(field), std::string(theirs) + std::string(position));
  }
}

}  // namespace detail

/// The key that OpenFlamingo's state dict uses for our `key`. `layers_path` is the language model's list of
/// layers ("model.layers"), `every` the distance of gated blocks. Adapters: "<module>.lora_A".
inline std::string openflamingo_key(std::string key, std::string_view layers_path, std::int64_t every) {
  detail::replace_once(key, ".adapter.", ".");
  const std::string layers = "lang_encoder." + std::string(layers_path) + ".";
  if (auto [block, rest] = detail::split_index(key, "gated_cross_attn."); block >= 0) {
    std::string name(rest);
    detail::rename_feed_forward(name, "ff.", "ff.");
    return layers + std::to_string((block + 1) * every - 1) + ".gated_cross_attn_layer." + name;
  }
  if (auto [layer, rest] = detail::split_index(key, "perceiver.layers."); layer >= 0) {
    std::string name(rest);
    if (name.starts_with("attn.")) detail::replace_once(name, "attn.", "0.");
    detail::rename_feed_forward(name, "ff.", "1.");
    return "perceiver.layers." + std::to_string(layer) + "." + name;
  }
  if (auto [layer, rest] = detail::split_index(key, layers); layer >= 0) {
    return layers + std::to_string(layer) + ".decoder_layer." + std::string(rest);
  }
  return key;
}

/// The key that transformers' MPT (and MosaicML's later checkpoints) uses for our `key`.
inline std::string hf_mpt_key(std::string key) {
  constexpr std::array<std::pair<std::string_view, std::string_view>, 5> parts{
      {{".ln_1.", ".norm_1."},
       {".ln_2.", ".norm_2."},
       {".mlp.mlp_up.", ".ffn.up_proj."},
       {".mlp.mlp_down.", ".ffn.down_proj."},
       {".ln_f.", ".norm_f."}}};
  if (key.find("transformer.blocks.") == std::string::npos &&
      key.find("transformer.ln_f.") == std::string::npos)
    return key;
  for (const auto& [ours, theirs] : parts) detail::replace_once(key, ours, theirs);
  return key;
}

/// Renames the entries of `dict` from another spelling to `module`'s own, where `theirs(our key)` tells that
/// spelling. Keys that the module does not have stay as they are, for the strict loader to report.
template <class M, class F>
StateDict rename_to_module(const M& module, StateDict dict, F&& theirs) {
  std::unordered_map<std::string, std::string> ours;
  visit(module, [&](const std::string& name, const Tensor&) { ours.emplace(theirs(name), name); });
  for (auto& [name, t] : dict) {
    if (auto it = ours.find(name); it != ours.end()) name = it->second;
  }
  return dict;
}

}  // namespace morphvlm
