// What is done with the metadata of a LLaMA model in GGUF that could change its numbers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/file_keys.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/utf8.hpp"
#include "morphvlm/formats/gguf.hpp"

namespace morphvlm {

/// GGUF metadata of LLaMA models. A key of theirs ("llama.") that is not here is refused, since it could
/// change numbers; a missing rope.scaling.type means linear, as in llama.cpp.
inline constexpr FileKey kGgufLlamaKeys[] = {
    {"general.architecture"},
    {"general.alignment"},
    {"llama.block_count"},
    {"llama.context_length"},
    {"llama.embedding_length"},
    {"llama.feed_forward_length"},
    {"llama.attention.head_count"},
    {"llama.attention.head_count_kv"},
    {"llama.attention.key_length"},
    {"llama.attention.value_length"},
    {"llama.attention.layer_norm_rms_epsilon"},
    {"llama.rope.dimension_count"},
    {"llama.rope.freq_base"},
    {"llama.rope.scaling.type", KeyUse::refused, "\"none\"\n\"linear\""},
    {"llama.rope.scaling.factor", KeyUse::refused, "0\n1"},
    {"llama.rope.scale_linear", KeyUse::refused, "0\n1"},
    {"llama.rope.scaling.attn_factor", KeyUse::refused, "1"},
    {"llama.rope.scaling.alpha", KeyUse::refused, "0"},
    {"llama.rope.dimension_sections", KeyUse::refused},
    {"llama.attention.sliding_window", KeyUse::refused, "0"},
    {"llama.attention.sliding_window_pattern", KeyUse::refused, "0"},
    {"llama.attention.scale", KeyUse::refused, "0"},
    {"llama.attention.clamp_kqv", KeyUse::refused, "0"},
    {"llama.attention.max_alibi_bias", KeyUse::refused, "0"},
    {"llama.attention.causal", KeyUse::refused, "true"},
    {"llama.attention.temperature_length", KeyUse::refused, "0"},
    {"llama.attention.temperature_scale", KeyUse::refused, "0"},
    {"llama.attn_logit_softcapping", KeyUse::refused, "0"},
    {"llama.final_logit_softcapping", KeyUse::refused, "0"},
    {"llama.logit_scale", KeyUse::refused, "0\n1"},
    {"llama.embedding_scale", KeyUse::refused, "0\n1"},
    {"llama.residual_scale", KeyUse::refused, "0\n1"},
    {"llama.use_parallel_residual", KeyUse::refused, "false"},
    {"llama.tensor_data_layout", KeyUse::refused, "\"Meta AI original pth\""},
    {"llama.expert_count", KeyUse::refused, "0"},
    {"llama.expert_used_count", KeyUse::refused, "0"},
    {"llama.expert_shared_count", KeyUse::refused, "0"},
    {"llama.expert_feed_forward_length", KeyUse::refused, "0"},
    {"llama.expert_shared_feed_forward_length", KeyUse::refused, "0"},
    {"llama.expert_weights_scale", KeyUse::refused, "0"},
    {"llama.expert_weights_norm", KeyUse::refused, "false"},
    {"llama.expert_gating_func", KeyUse::refused, "0"},
    {"llama.leading_dense_block_count", KeyUse::refused, "0"},
    {"llama.interleave_moe_layer_step", KeyUse::refused, "0"},
    {"split.count", KeyUse::refused, "0\n1"},
    {"split.no", KeyUse::ignored},
    {"split.tensors.count", KeyUse::ignored},
    {"llama.vocab_size", KeyUse::ignored},
    {"llama.pooling_type", KeyUse::ignored},
    {"llama.attention.layer_norm_epsilon", KeyUse::ignored},
    {"llama.rope.scaling.original_context_length", KeyUse::ignored},
    {"llama.rope.scaling.finetuned", KeyUse::ignored},
    {"llama.rope.scaling.yarn_log_multiplier", KeyUse::ignored},
    {"llama.rope.scaling.yarn_ext_factor", KeyUse::ignored},
    {"llama.rope.scaling.yarn_attn_factor", KeyUse::ignored},
    {"llama.rope.scaling.yarn_beta_fast", KeyUse::ignored},
    {"llama.rope.scaling.yarn_beta_slow", KeyUse::ignored},
};

namespace detail {

// What is no UTF-8, or long, is none of the words that are accepted, and nothing for a message.
inline Json gguf_text_json(std::string_view text) {
  constexpr std::size_t kLongest = 100;
  if (text.size() > kLongest) return "a text of " + std::to_string(text.size()) + " bytes";
  return find_invalid_utf8(text) == text.npos ? Json(std::string(text)) : Json("a text that is not UTF-8");
}

inline Json gguf_json(const GgufValue& value, const std::string& where) {
  switch (value.type) {
    case GgufType::boolean:
      return decode<bool>(value, where);
    case GgufType::f32:
    case GgufType::f64:
      return decode<double>(value, where);
    case GgufType::text:
      return gguf_text_json(decode<std::string_view>(value, where));
    case GgufType::array:
      return "an array";
    case GgufType::u64:
      return decode<std::uint64_t>(value, where);
    default:
      return decode<std::int64_t>(value, where);
  }
}

// The metadata that kGgufLlamaKeys is about, as an object.
inline Json gguf_llama_metadata(const GgufFile& file) {
  const auto where = file.map->path.string();
  Json object = Json::object();
  for (const auto& [key, value] : file.metadata)
    if (key.starts_with("llama.") || key.starts_with("split."))
      object[std::string(key)] = gguf_json(value, where + ": metadata key \"" + std::string(key) + '"');
  return object;
}

// Rotary frequencies that a tensor gives, as Llama 3.1's and LongRoPE's.
inline void refuse_rope_tensors(const GgufFile& file) {
  for (const auto& t : file.tensors) {
    const bool scales = t.name == "rope_freqs.weight" || t.name.starts_with("rope_factors_");
    expect(!scales, file.map->path.string(), ": tensor \"", t.name,
           "\": rotary frequencies that a tensor scales (as Llama 3.1's) are not supported");
  }
}

}  // namespace detail

/// Errors for what a LLaMA file asks for and is not here, by the key's or the tensor's name; for one part of
/// a split file, too.
inline void refuse_gguf_llama_keys(const GgufFile& file) {
  const auto where = file.map->path.string();
  Json object = detail::gguf_llama_metadata(file);
  if (file.contains("split.count")) {
    const auto parts = file.get<std::int64_t>("split.count");
    const auto part = file.get_or<std::int64_t>("split.no", 0);
    expect(parts <= 1, where, ": split.count: this is part ", part + 1, " of ", parts,
           " of a split file; expected a whole one (join the parts first: llama.cpp's gguf-split --merge)");
  }
  // Without scaling nobody asks for the factor.
  if (const auto type = object.find("llama.rope.scaling.type"); type != object.end() && *type == "none") {
    object.erase("llama.rope.scaling.factor");
    object.erase("llama.rope.scale_linear");
  }
  refuse_keys(object, kGgufLlamaKeys, where);
  refuse_unknown_keys(object, kGgufLlamaKeys, where);
  detail::refuse_rope_tensors(file);
}

}  // namespace morphvlm
