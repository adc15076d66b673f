// Language models' sizes from config.json, in the spellings of MosaicML's code and of transformers. What a
// model here does not do is refused by name, not ignored.
#pragma once

#include <cmath>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/hf_fields.hpp"
#include "morphvlm/io/hf_rope.hpp"
#include "morphvlm/model/bio_gpt.hpp"
#include "morphvlm/model/gpt_neox.hpp"
#include "morphvlm/model/mpt.hpp"
#include "morphvlm/model/open_llama.hpp"

namespace morphvlm {

/// config.json of a LLaMA, beside kHfConfigKeys.
inline constexpr FileKey kLlamaConfigKeys[] = {
    {"vocab_size"},
    {"hidden_size"},
    {"intermediate_size"},
    {"num_hidden_layers"},
    {"num_attention_heads"},
    {"num_key_value_heads"},
    {"head_dim"},
    {"max_position_embeddings"},
    {"rms_norm_eps"},
    {"rope_theta"},
    {"rope_parameters"},
    {"rope_scaling"},
    {"tie_word_embeddings"},
    {"hidden_act", KeyUse::refused, "\"silu\"\n\"swish\""},
    {"attention_bias", KeyUse::refused, "false"},
    {"mlp_bias", KeyUse::refused, "false"},
    {"partial_rotary_factor", KeyUse::refused, "1"},
    {"attention_dropout", KeyUse::ignored},
    {"pretraining_tp", KeyUse::ignored},
};

/// config.json of a GPT-NeoX, beside kHfConfigKeys. transformers reads no `rope_theta` outside of
/// `rope_parameters` here.
inline constexpr FileKey kGptNeoXConfigKeys[] = {
    {"vocab_size"},
    {"hidden_size"},
    {"intermediate_size"},
    {"num_hidden_layers"},
    {"num_attention_heads"},
    {"max_position_embeddings"},
    {"layer_norm_eps"},
    {"rotary_pct"},
    {"rotary_emb_base"},
    {"rope_parameters"},
    {"rope_scaling"},
    {"use_parallel_residual"},
    {"tie_word_embeddings"},
    {"hidden_act", KeyUse::refused, "\"gelu\""},
    {"attention_bias", KeyUse::refused, "true"},
    {"head_dim", KeyUse::refused},
    {"rope_theta", KeyUse::ignored},
    {"attention_dropout", KeyUse::ignored},
    {"hidden_dropout", KeyUse::ignored},
    {"classifier_dropout", KeyUse::ignored},
    {"is_decoder", KeyUse::ignored},
};

/// config.json of a BioGPT, beside kHfConfigKeys. Its norms' epsilon is 1e-5 whatever the file says, as in
/// transformers.
inline constexpr FileKey kBioGptConfigKeys[] = {
    {"vocab_size"},
    {"hidden_size"},
    {"intermediate_size"},
    {"num_hidden_layers"},
    {"num_attention_heads"},
    {"max_position_embeddings"},
    {"scale_embedding"},
    {"hidden_act", KeyUse::refused, "\"gelu\""},
    {"tie_word_embeddings", KeyUse::refused, "true"},
    {"layer_norm_eps", KeyUse::ignored},
    {"hidden_dropout_prob", KeyUse::ignored},
    {"attention_probs_dropout_prob", KeyUse::ignored},
    {"activation_dropout", KeyUse::ignored},
    {"layerdrop", KeyUse::ignored},
};

/// config.json of an MPT, beside kHfConfigKeys: what stands outside of `attn_config`, in either form.
/// transformers takes `hidden_size` and its like for other names of the sizes, so they must say the same.
inline constexpr FileKey kMptConfigKeys[] = {
    {"vocab_size"},
    {"d_model"},
    {"n_layers"},
    {"n_heads"},
    {"expansion_ratio"},
    {"mlp_ratio"},
    {"max_seq_len"},
    {"layer_norm_epsilon"},
    {"attn_config"},
    {"hidden_size"},
    {"num_attention_heads"},
    {"num_hidden_layers"},
    {"no_bias", KeyUse::refused, "true", "false"},
    {"logit_scale", KeyUse::refused},
    {"tie_word_embeddings", KeyUse::refused, "true"},
    {"embedding_fraction", KeyUse::refused, "1"},
    {"norm_type", KeyUse::refused, "\"low_precision_layernorm\"\n\"layernorm\""},
    {"norm_eps", KeyUse::refused, "1e-05"},
    {"final_logit_softcapping", KeyUse::refused},
    {"block_overrides", KeyUse::refused},
    {"ffn_config"},
    {"learned_pos_emb", KeyUse::ignored},
    {"low_precision_layernorm", KeyUse::ignored},
    {"resid_pdrop", KeyUse::ignored},
    {"emb_pdrop", KeyUse::ignored},
    {"fc_type", KeyUse::ignored},
    {"init_config", KeyUse::ignored},
    {"init_device", KeyUse::ignored},
};

/// `attn_config` of an MPT.
inline constexpr FileKey kMptAttentionKeys[] = {
    {"qk_ln"},
    {"alibi_bias_max"},
    {"alibi", KeyUse::refused, "true", "false"},
    {"prefix_lm", KeyUse::refused, "false"},
    {"softmax_scale", KeyUse::refused},
    {"clip_qkv", KeyUse::refused},
    {"qk_gn", KeyUse::refused, "false"},
    {"rope", KeyUse::refused, "false"},
    {"kv_n_heads", KeyUse::refused},
    {"sliding_window_size", KeyUse::refused, "-1"},
    {"attn_logit_softcapping", KeyUse::refused},
    {"attn_uses_sequence_id", KeyUse::refused, "false"},
    {"attn_type", KeyUse::refused, "\"multihead_attention\""},
    {"attn_impl", KeyUse::ignored},
    {"attn_pdrop", KeyUse::ignored},
};

/// What an MPT without `attn_config` (`model_type` mosaic_gpt) says of its attention.
inline constexpr FileKey kMosaicGptAttentionKeys[] = {
    {"attn_qk_ln"},
    {"alibi_bias_max"},
    {"alibi", KeyUse::refused, "true", "false"},
    {"prefix_lm", KeyUse::refused, "false"},
    {"softmax_scale", KeyUse::refused},
    {"attn_clip_qkv", KeyUse::refused},
    {"attn_uses_sequence_id", KeyUse::refused, "false"},
    {"attn_type", KeyUse::refused, "\"multihead_attention\""},
    {"attn_impl", KeyUse::ignored},
    {"attn_pdrop", KeyUse::ignored},
};

/// `ffn_config` of an MPT; no other key may stand there.
inline constexpr FileKey kMptFeedForwardKeys[] = {{"ffn_type", KeyUse::refused, "\"mptmlp\""},
                                                  {"ffn_act_fn", KeyUse::refused, "{\"name\": \"gelu\"}"},
                                                  {"fc_type", KeyUse::ignored}};

namespace detail {

inline void expect_as_said(const Json& json, std::string_view key, std::string_view name, std::int64_t size,
                           const std::string& where) {
  std::int64_t other = size;
  take_field(other, json, name, where);
  expect(other == size, where, ": ", name, ": expected ", size, " as ", key, ", found ", other);
}

}  // namespace detail

/// An MPT's sizes from its config.json: MPT-1B's flat form (`model_type` mosaic_gpt), or the later one with
/// `attn_config`. `where` leads the message of errors: a missing size, a wrong type, a feature that is not
/// here.
inline MPTConfig mpt_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  const bool nested = json.contains("attn_config");
  const Json& attention =
      nested ? detail::expect_object(json.at("attn_config"), where + ": attn_config") : json;
  refuse_keys(json, kHfConfigKeys, where);
  refuse_keys(json, kMptConfigKeys, where);
  if (nested)
    refuse_keys(attention, kMptAttentionKeys, where + ": attn_config");
  else
    refuse_keys(attention, kMosaicGptAttentionKeys, where);
  const Json none = Json::object();
  const Json& feed_forward = detail::member_or(json, "ffn_config", none);
  refuse_keys(detail::expect_object(feed_forward, where + ": ffn_config"), kMptFeedForwardKeys,
              where + ": ffn_config");
  refuse_unknown_keys(feed_forward, kMptFeedForwardKeys, where + ": ffn_config");
  MPTConfig config{.attn_qk_ln = false};
  detail::take_size(config.vocab_size, json, "vocab_size", where);
  detail::take_size(config.d_model, json, "d_model", where);
  detail::take_size(config.n_layers, json, "n_layers", where);
  detail::take_size(config.n_heads, json, "n_heads", where);
  detail::take_size(config.mlp_ratio, json, nested ? "expansion_ratio" : "mlp_ratio", where);
  detail::take_field(config.max_seq_len, json, "max_seq_len", where);
  detail::take_epsilon(config.layer_norm_epsilon, json, "layer_norm_epsilon", where);
  detail::take_field(config.attn_qk_ln, attention, nested ? "qk_ln" : "attn_qk_ln", where);
  detail::take_field(config.alibi_bias_max, attention, "alibi_bias_max", where);
  expect(std::isfinite(config.alibi_bias_max), where, ": alibi_bias_max is not a finite number");
  detail::expect_as_said(json, "d_model", "hidden_size", config.d_model, where);
  detail::expect_as_said(json, "n_heads", "num_attention_heads", config.n_heads, where);
  detail::expect_as_said(json, "n_layers", "num_hidden_layers", config.n_layers, where);
  return config;
}

/// A GPT-NeoX's sizes from its config.json, with the rotation as `rotary_pct` and `rotary_emb_base` where
/// `rope_parameters`, which transformers 5 writes, lacks it. Errors as above.
inline GPTNeoXConfig gpt_neox_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  refuse_keys(json, kHfConfigKeys, where);
  refuse_keys(json, kGptNeoXConfigKeys, where);
  const detail::HfRope rope(json, kGptNeoXRopeKeys, where);
  GPTNeoXConfig config{.rotary_pct = 0.25, .use_parallel_residual = true};  // what HF takes for granted
  detail::take_size(config.vocab_size, json, "vocab_size", where);
  detail::take_size(config.hidden_size, json, "hidden_size", where);
  detail::take_size(config.num_hidden_layers, json, "num_hidden_layers", where);
  detail::take_size(config.num_attention_heads, json, "num_attention_heads", where);
  detail::take_size(config.intermediate_size, json, "intermediate_size", where);
  detail::take_field(config.max_position_embeddings, json, "max_position_embeddings", where);
  rope.take(config.rotary_pct, "partial_rotary_factor", "rotary_pct");
  expect(config.rotary_pct >= 0 && config.rotary_pct <= 1, where,
         ": rotary_pct, the rotated part of a head: expected 0 to 1, found ", config.rotary_pct);
  rope.take_theta(config.rotary_emb_base, "rotary_emb_base");
  detail::take_epsilon(config.layer_norm_eps, json, "layer_norm_eps", where);
  detail::take_field(config.use_parallel_residual, json, "use_parallel_residual", where);
  detail::take_field(config.tie_word_embeddings, json, "tie_word_embeddings", where);
  return config;
}

/// A LLaMA's sizes from its config.json, the rotation's base as `rope_theta` where `rope_parameters`, which
/// transformers 5 writes, lacks it. Errors as above.
inline LlamaConfig llama_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  refuse_keys(json, kHfConfigKeys, where);
  refuse_keys(json, kLlamaConfigKeys, where);
  const detail::HfRope rope(json, kLlamaRopeKeys, where);
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
  detail::take_epsilon(config.rms_norm_eps, json, "rms_norm_eps", where);
  rope.take_theta(config.rope_theta, "rope_theta");
  detail::take_field(config.tie_word_embeddings, json, "tie_word_embeddings", where);
  return config;
}

/// A BioGPT's sizes from its config.json. Errors as above.
inline BioGPTConfig bio_gpt_config_from_hf(const Json& json, const std::string& where) {
  detail::expect_object(json, where);
  refuse_keys(json, kHfConfigKeys, where);
  refuse_keys(json, kBioGptConfigKeys, where);
  BioGPTConfig config{.max_position_embeddings = 1024};  // what HF takes for granted
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
  } else if constexpr (std::is_same_v<Config, MPTConfig>) {
    return mpt_config_from_hf(json, where);
  } else if constexpr (std::is_same_v<Config, BioGPTConfig>) {
    return bio_gpt_config_from_hf(json, where);
  } else {
    static_assert(std::is_same_v<Config, GPTNeoXConfig>, "morphvlm: no reader of config.json for this model");
    return gpt_neox_config_from_hf(json, where);
  }
}

}  // namespace morphvlm
