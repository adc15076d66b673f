// Language models' sizes from config.json, in the spellings of MosaicML's code and of transformers. What a
// model here does not do is refused by name, not ignored.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>

#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/model_limits.hpp"
#include "morphvlm/model/bio_gpt.hpp"
#include "morphvlm/model/gpt_neox.hpp"
#include "morphvlm/model/mpt.hpp"
#include "morphvlm/model/open_llama.hpp"

namespace morphvlm {

namespace detail {

inline const Json& member_or(const Json& object, std::string_view key, const Json& fallback) {
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? fallback : *it;
}

// What a size of that name may be at most.
inline std::int64_t largest_size(std::string_view key) {
  if (key == "num_hidden_layers" || key == "n_layers") return kMaxModelLayers;
  return key == "vocab_size" || key.starts_with("max_") ? kMaxModelTokens : kMaxModelWidth;
}

// A missing key or null leaves the field as it is. Integers are sizes.
template <class T>
void take_field(T& field, const Json& object, std::string_view key, const std::string& where) {
  const Json none;
  const Json& found = member_or(object, key, none);
  if (found.is_null()) return;
  update_from_json(field, found, where + ": " + std::string(key));
  if constexpr (std::is_same_v<T, std::int64_t> || std::is_same_v<T, std::optional<std::int64_t>>)
    expect_model_size(std::optional<std::int64_t>(field).value(), key, where, largest_size(key));
}

template <class T>
void take_size(T& field, const Json& object, std::string_view key, const std::string& where) {
  expect(object.contains(key), where, ": key \"", key, "\" is missing");
  take_field(field, object, key, where);
}

// `fallback` is what the writers of the file mean by leaving the key out.
inline void expect_member(const Json& object, std::string_view key, const Json& wanted, const Json& fallback,
                          const std::string& where) {
  const Json& found = member_or(object, key, fallback);
  expect(found == wanted, where, ": ", key, ": expected ", wanted.dump(), ", found ", found.dump());
}

inline const Json& expect_object(const Json& json, const std::string& where) {
  expect(json.is_object(), where, ": expected an object, found ", json.dump());
  return json;
}

}  // namespace detail

/// An MPT's sizes from its config.json: MPT-1B's flat form (`model_type` mosaic_gpt), or the later one with
/// `attn_config`. `where` leads the message of errors: a missing size, a wrong type, a feature that is not
/// here.
inline MptConfig mpt_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  const bool nested = json.contains("attn_config");
  const Json& attention =
      nested ? detail::expect_object(json.at("attn_config"), where + ": attn_config") : json;
  const auto key = [&](std::string_view name) {
    return std::string(nested ? "" : "attn_") + std::string(name);
  };
  detail::expect_member(json, "no_bias", true, false, where);
  detail::expect_member(json, "logit_scale", nullptr, nullptr, where);
  detail::expect_member(json, "tie_word_embeddings", true, true, where);
  detail::expect_member(attention, "alibi", true, false, where);
  detail::expect_member(attention, "prefix_lm", false, false, where);
  detail::expect_member(attention, "softmax_scale", nullptr, nullptr, where);
  detail::expect_member(attention, key("clip_qkv"), nullptr, nullptr, where);
  detail::expect_member(attention, "attn_type", "multihead_attention", "multihead_attention", where);
  MptConfig config{.attn_qk_ln = false};
  detail::take_size(config.vocab_size, json, "vocab_size", where);
  detail::take_size(config.d_model, json, "d_model", where);
  detail::take_size(config.n_layers, json, "n_layers", where);
  detail::take_size(config.n_heads, json, "n_heads", where);
  detail::take_size(config.mlp_ratio, json, nested ? "expansion_ratio" : "mlp_ratio", where);
  detail::take_field(config.max_seq_len, json, "max_seq_len", where);
  detail::take_field(config.layer_norm_epsilon, json, "layer_norm_epsilon", where);
  detail::take_field(config.attn_qk_ln, attention, key("qk_ln"), where);
  detail::take_field(config.alibi_bias_max, attention, "alibi_bias_max", where);
  return config;
}

/// A GPT-NeoX's sizes from its config.json, with the rotation as `rotary_pct` and `rotary_emb_base` or, since
/// transformers 5, as `rope_parameters`. Errors as above.
inline GptNeoXConfig gpt_neox_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  const bool nested = json.contains("rope_parameters") && !json.at("rope_parameters").is_null();
  const Json& rope =
      nested ? detail::expect_object(json.at("rope_parameters"), where + ": rope_parameters") : json;
  detail::expect_member(json, "hidden_act", "gelu", "gelu", where);
  detail::expect_member(json, "attention_bias", true, true, where);
  detail::expect_member(json, "rope_scaling", nullptr, nullptr, where);
  if (nested) detail::expect_member(rope, "rope_type", "default", "default", where);
  GptNeoXConfig config{.rotary_pct = 0.25, .use_parallel_residual = true};  // what HF takes for granted
  detail::take_size(config.vocab_size, json, "vocab_size", where);
  detail::take_size(config.hidden_size, json, "hidden_size", where);
  detail::take_size(config.num_hidden_layers, json, "num_hidden_layers", where);
  detail::take_size(config.num_attention_heads, json, "num_attention_heads", where);
  detail::take_size(config.intermediate_size, json, "intermediate_size", where);
  detail::take_field(config.max_position_embeddings, json, "max_position_embeddings", where);
  detail::take_field(config.rotary_pct, rope, nested ? "partial_rotary_factor" : "rotary_pct", where);
  expect(config.rotary_pct >= 0 && config.rotary_pct <= 1, where,
         ": the rotated part of a head: expected 0 to 1, found ", config.rotary_pct);
  detail::take_field(config.rotary_emb_base, rope, nested ? "rope_theta" : "rotary_emb_base", where);
  detail::take_field(config.layer_norm_eps, json, "layer_norm_eps", where);
  detail::take_field(config.use_parallel_residual, json, "use_parallel_residual", where);
  detail::take_field(config.tie_word_embeddings, json, "tie_word_embeddings", where);
  return config;
}

/// A LLaMA's sizes from its config.json, the rotation's base as `rope_theta` or, since transformers 5, in
/// `rope_parameters`. Errors as above.
inline LlamaConfig llama_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  const bool nested = json.contains("rope_parameters") && !json.at("rope_parameters").is_null();
  const Json& rope =
      nested ? detail::expect_object(json.at("rope_parameters"), where + ": rope_parameters") : json;
  detail::expect_member(json, "hidden_act", "silu", "silu", where);
  detail::expect_member(json, "attention_bias", false, false, where);
  detail::expect_member(json, "mlp_bias", false, false, where);
  detail::expect_member(json, "rope_scaling", nullptr, nullptr, where);
  if (nested) detail::expect_member(rope, "rope_type", "default", "default", where);
  LlamaConfig config;
  detail::take_size(config.vocab_size, json, "vocab_size", where);
  detail::take_size(config.hidden_size, json, "hidden_size", where);
  detail::take_size(config.intermediate_size, json, "intermediate_size", where);
  detail::take_size(config.num_hidden_layers, json, "num_hidden_layers", where);
  detail::take_size(config.num_attention_heads, json, "num_attention_heads", where);
  detail::take_field(config.num_key_value_heads, json, "num_key_value_heads", where);
  detail::take_field(config.head_dim, json, "head_dim", where);
  // Rotated in pairs; with more heads than numbers in a token, the default is 0.
  const auto head_dim = config.attention().head_dim;
  expect(head_dim > 0 && head_dim % 2 == 0, where, ": the width of a head: expected 2, 4, ..., found ",
         head_dim);
  detail::take_field(config.max_position_embeddings, json, "max_position_embeddings", where);
  detail::take_field(config.rms_norm_eps, json, "rms_norm_eps", where);
  detail::take_field(config.rope_theta, rope, "rope_theta", where);
  detail::take_field(config.tie_word_embeddings, json, "tie_word_embeddings", where);
  return config;
}

/// A BioGPT's sizes from its config.json. Errors as above.
inline BioGptConfig bio_gpt_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  detail::expect_member(json, "hidden_act", "gelu", "gelu", where);
  detail::expect_member(json, "tie_word_embeddings", true, true, where);
  BioGptConfig config;
  detail::take_size(config.vocab_size, json, "vocab_size", where);
  detail::take_size(config.hidden_size, json, "hidden_size", where);
  detail::take_size(config.num_hidden_layers, json, "num_hidden_layers", where);
  detail::take_size(config.num_attention_heads, json, "num_attention_heads", where);
  detail::take_size(config.intermediate_size, json, "intermediate_size", where);
  detail::take_field(config.max_position_embeddings, json, "max_position_embeddings", where);
  detail::take_field(config.scale_embedding, json, "scale_embedding", where);
  return config;
}

/// The sizes of a language model of type `Config` from its config.json.
template <class Config>
Config language_config_from_hf(const Json& json, const std::string& where) {
  if constexpr (std::is_same_v<Config, LlamaConfig>) {
    return llama_config_from_hf(json, where);
  } else if constexpr (std::is_same_v<Config, MptConfig>) {
    return mpt_config_from_hf(json, where);
  } else if constexpr (std::is_same_v<Config, BioGptConfig>) {
    return bio_gpt_config_from_hf(json, where);
  } else {
    static_assert(std::is_same_v<Config, GptNeoXConfig>, "morphvlm: no reader of config.json for this model");
    return gpt_neox_config_from_hf(json, where);
  }
}

}  // namespace morphvlm
