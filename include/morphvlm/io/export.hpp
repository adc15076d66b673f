// A language model with its adapters folded in, as a folder that transformers loads.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>

#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/io/hf_directory.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/model/bio_gpt.hpp"
#include "morphvlm/model/gpt_neox.hpp"
#include "morphvlm/model/mpt.hpp"
#include "morphvlm/model/open_llama.hpp"

namespace morphvlm {

/// A LLaMA's config.json.
inline Json hf_config(const LlamaConfig& c) {
  const auto attention = c.attention();
  return {{"architectures", Json::array({"LlamaForCausalLM"})},
          {"model_type", "llama"},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"intermediate_size", c.intermediate_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_attention_heads", attention.heads},
          {"num_key_value_heads", attention.kv_heads},
          {"head_dim", attention.head_dim},
          {"hidden_act", "silu"},
          {"attention_bias", false},
          {"mlp_bias", false},
          {"max_position_embeddings", c.max_position_embeddings},
          {"rms_norm_eps", c.rms_norm_eps},
          {"rope_theta", c.rope_theta},
          {"rope_parameters", {{"rope_type", "default"}, {"rope_theta", c.rope_theta}}},
          {"tie_word_embeddings", c.tie_word_embeddings}};
}

/// A GPT-NeoX's config.json.
inline Json hf_config(const GPTNeoXConfig& c) {
  return {{"architectures", Json::array({"GPTNeoXForCausalLM"})},
          {"model_type", "gpt_neox"},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_attention_heads", c.num_attention_heads},
          {"intermediate_size", c.intermediate_size},
          {"hidden_act", "gelu"},
          {"attention_bias", true},
          {"max_position_embeddings", c.max_position_embeddings},
          {"rotary_pct", c.rotary_pct},
          {"rotary_emb_base", c.rotary_emb_base},
          {"rope_parameters",
           {{"rope_type", "default"},
            {"rope_theta", c.rotary_emb_base},
            {"partial_rotary_factor", c.rotary_pct}}},
          {"layer_norm_eps", c.layer_norm_eps},
          {"use_parallel_residual", c.use_parallel_residual},
          {"tie_word_embeddings", c.tie_word_embeddings}};
}

/// A BioGPT's config.json.
inline Json hf_config(const BioGPTConfig& c) {
  return {{"architectures", Json::array({"BioGptForCausalLM"})},
          {"model_type", "biogpt"},
          {"vocab_size", c.vocab_size},
          {"hidden_size", c.hidden_size},
          {"num_hidden_layers", c.num_hidden_layers},
          {"num_attention_heads", c.num_attention_heads},
          {"intermediate_size", c.intermediate_size},
          {"hidden_act", "gelu"},
          {"max_position_embeddings", c.max_position_embeddings},
          {"scale_embedding", c.scale_embedding},
          {"tie_word_embeddings", true}};
}

namespace detail {

// transformers checks that what it declares as an integer is written as one.
inline Json shortest_number(double value) {
  const bool whole = value == std::floor(value) && std::abs(value) < 1e15;
  return whole ? Json(static_cast<std::int64_t>(value)) : Json(value);
}

}  // namespace detail

/// An MPT's config.json: MPT-1B's own form where q and k are normalised, since transformers' MPT does not do
/// that; otherwise transformers'.
inline Json hf_config(const MPTConfig& c) {
  Json json = {{"architectures", Json::array({c.attn_qk_ln ? "MosaicGPT" : "MptForCausalLM"})},
               {"model_type", c.attn_qk_ln ? "mosaic_gpt" : "mpt"},
               {"vocab_size", c.vocab_size},
               {"d_model", c.d_model},
               {"n_layers", c.n_layers},
               {"n_heads", c.n_heads},
               {c.attn_qk_ln ? "mlp_ratio" : "expansion_ratio", c.mlp_ratio},
               {"max_seq_len", c.max_seq_len},
               {"no_bias", true},
               {"layer_norm_epsilon", c.layer_norm_epsilon},
               {"tie_word_embeddings", true}};
  if (c.attn_qk_ln) {
    json.update({{"alibi", true},
                 {"alibi_bias_max", detail::shortest_number(c.alibi_bias_max)},
                 {"attn_qk_ln", true}});
  } else {
    json["attn_config"] = {{"alibi", true},
                           {"alibi_bias_max", detail::shortest_number(c.alibi_bias_max)},
                           {"attn_type", "multihead_attention"},
                           {"qk_ln", false}};
  }
  return json;
}

/// The weights of a language model under the keys of its HF folder, adapters folded in; `model` stays as it
/// is.
template <class M>
StateDict hf_weights(const M& model) {
  StateDict dict = merged_state(model);
  if constexpr (std::is_same_v<std::remove_cvref_t<decltype(model.config)>, MPTConfig>) {
    if (!model.config.attn_qk_ln) {
      for (auto& [key, t] : dict) key = hf_mpt_key(std::move(key));
    }
  }
  return dict;
}

/// What export_language_model may be told.
struct HfExport {
  std::optional<at::ScalarType> dtype = {};  ///< of all weights; default: as they are
  std::int64_t shard_bytes = kShardBytes;    ///< largest file of weights, unless one tensor is larger
  /// Members for config.json that say nothing of sizes, e.g. those of the folder that the model came from
  /// (ids of special tokens); the model's own members win.
  Json members = Json::object();
};

namespace detail {

inline const char* torch_name(at::ScalarType dtype) {
  switch (dtype) {
    case at::kFloat:
      return "float32";
    case at::kHalf:
      return "float16";
    case at::kBFloat16:
      return "bfloat16";
    default:
      fail("expected weights in float32, float16 or bfloat16, found ", dtype);
  }
}

}  // namespace detail

/// Writes a language model (a VLM's `lang_encoder`, or one alone), its adapters folded in, as a folder that
/// transformers' from_pretrained loads; the model stays as it is. Tokenizer files are not written. Atomic,
/// see write_directory.
template <class M>
void export_language_model(const M& model, const std::filesystem::path& folder,
                           const HfExport& options = {}) {
  StateDict dict = hf_weights(model);
  if (options.dtype) dict = cast(std::move(dict), *options.dtype);
  Json config = options.members;
  config.update(hf_config(model.config));
  // "torch_dtype" is what transformers before version 5 reads.
  for (const char* key : {"dtype", "torch_dtype"})
    config[key] = detail::torch_name(dict.front().second.scalar_type());
  save_hf_directory(folder, config, dict, options.shard_bytes);
}

}  // namespace morphvlm
