// LLaMA-architecture models in GGUF, under the names and in the layout of Hugging Face's checkpoints.
#pragma once

#include <algorithm>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/formats/gguf.hpp"
#include "morphvlm/io/gguf_llama_keys.hpp"
#include "morphvlm/io/model_limits.hpp"

namespace morphvlm {

/// Takes the rows of a query or key projection, `[heads * head_dim, in]` (or a bias, `[heads * head_dim]`),
/// from GGUF's order, for RoPE on interleaved pairs, back to the order for rotating halves: in each head
/// `out[j * head_dim / 2 + i] = in[2 * i + j]` for i < head_dim / 2, j in {0, 1}.
inline Tensor unpermute_rope(const Tensor& weight, std::int64_t heads) {
  expect(weight.dim() >= 1 && weight.numel() > 0 && heads > 0 && weight.size(0) % (2 * heads) == 0,
         "unpermute_rope: ", describe(weight), " does not hold ", heads, " heads of an even size");
  const std::int64_t half = weight.size(0) / heads / 2;
  const std::int64_t rest = weight.dim() > 1 ? weight.numel() / weight.size(0) : 1;
  return weight.reshape({heads, half, 2, rest}).transpose(1, 2).reshape(weight.sizes());
}

/// Hugging Face's name of a LLaMA tensor of a GGUF file; nothing for a name that LLaMA models do not have.
inline std::optional<std::string> hf_llama_name(std::string_view name) {
  constexpr std::pair<std::string_view, std::string_view> kWhole[] = {
      {"token_embd.weight", "model.embed_tokens.weight"},
      {"output_norm.weight", "model.norm.weight"},
      {"output.weight", "lm_head.weight"}};
  constexpr std::pair<std::string_view, std::string_view> kInLayer[] = {
      {"attn_norm", "input_layernorm"},    {"attn_q", "self_attn.q_proj"},
      {"attn_k", "self_attn.k_proj"},      {"attn_v", "self_attn.v_proj"},
      {"attn_output", "self_attn.o_proj"}, {"ffn_norm", "post_attention_layernorm"},
      {"ffn_gate", "mlp.gate_proj"},       {"ffn_up", "mlp.up_proj"},
      {"ffn_down", "mlp.down_proj"}};
  for (const auto& [gguf, hf] : kWhole) {
    if (name == gguf) return std::string(hf);
  }
  if (!name.starts_with("blk.")) return std::nullopt;
  name.remove_prefix(4);
  const auto dot = name.find('.'), last = name.rfind('.');
  if (dot == 0 || dot == last || name.find_first_not_of("0123456789") != dot) return std::nullopt;
  const auto layer = name.substr(0, dot), site = name.substr(dot + 1, last - dot - 1),
             kind = name.substr(last);
  if (kind != ".weight" && kind != ".bias") return std::nullopt;
  for (const auto& [gguf, hf] : kInLayer) {
    if (site == gguf) return "model.layers." + std::string(layer) + '.' + std::string(hf) + std::string(kind);
  }
  return std::nullopt;
}

namespace detail {

inline const GgufTensor& llama_embedding(const GgufFile& file) {
  const auto found = std::ranges::find(file.tensors, "token_embd.weight", &GgufTensor::name);
  expect(found != file.tensors.end() && found->shape.size() == 2, file.map->path.string(),
         ": tensor \"token_embd.weight\" is missing or not a matrix");
  return *found;
}

inline void expect_llama(const GgufFile& file) {
  const auto where = file.map->path.string();
  const auto architecture = file.get<std::string>("general.architecture");
  expect(architecture == "llama", where, ": expected a model of architecture \"llama\", found \"",
         architecture, '"');
  refuse_gguf_llama_keys(file);
}

}  // namespace detail

/// A LLaMA file's sizes under the names of Hugging Face's config.json; `head_dim` only where the file states
/// it. Another architecture, scaled or partial RoPE, a part of a split file, and what else kGgufLlamaKeys
/// refuses are an Error that names it.
inline Json gguf_llama_config(const GgufFile& file) {
  detail::expect_llama(file);
  const auto where = file.map->path.string();
  const auto limited = [&](std::string_view key, std::int64_t size, std::int64_t most = kMaxModelWidth) {
    return detail::expect_model_size(size, key, where, most);
  };
  const auto size = [&](const char* key, std::int64_t most = kMaxModelWidth) {
    return limited(key, file.get<std::int64_t>(key), most);
  };
  const auto heads = size("llama.attention.head_count"), width = size("llama.embedding_length");
  constexpr std::string_view kHeadDim = "llama.attention.key_length",
                             kKvHeads = "llama.attention.head_count_kv";
  const auto head_dim = limited(kHeadDim, file.get_or<std::int64_t>(kHeadDim, width / heads));
  expect(file.get_or<std::int64_t>("llama.attention.value_length", head_dim) == head_dim, where,
         ": llama.attention.value_length: keys and values of different sizes are not supported");
  expect(file.get_or<std::int64_t>("llama.rope.dimension_count", head_dim) == head_dim, where,
         ": llama.rope.dimension_count: RoPE over a part of the head is not supported");
  Json config = {{"vocab_size", detail::llama_embedding(file).shape[0]},
                 {"hidden_size", width},
                 {"intermediate_size", size("llama.feed_forward_length")},
                 {"num_hidden_layers", size("llama.block_count", kMaxModelLayers)},
                 {"num_attention_heads", heads},
                 {"num_key_value_heads", limited(kKvHeads, file.get_or<std::int64_t>(kKvHeads, heads))},
                 {"max_position_embeddings", size("llama.context_length", kMaxModelTokens)},
                 {"rms_norm_eps", file.get<double>("llama.attention.layer_norm_rms_epsilon")},
                 {"rope_theta", file.get_or<double>("llama.rope.freq_base", 10000.0)}};
  config["tie_word_embeddings"] =
      std::ranges::find(file.tensors, "output.weight", &GgufTensor::name) == file.tensors.end();
  if (file.contains(kHeadDim)) config["head_dim"] = head_dim;
  return config;
}

namespace detail {

inline Tensor read_llama_tensor(const GgufFile& file, const GgufTensor& info, const std::string& hf_name,
                                const Json& config, at::ScalarType dtype) {
  Tensor t = file.tensor(info, dtype);
  const bool query = hf_name.find(".q_proj.") != std::string::npos;
  if (!query && hf_name.find(".k_proj.") == std::string::npos) return t;
  const auto heads = config.at(query ? "num_attention_heads" : "num_key_value_heads").get<std::int64_t>();
  expect(heads > 0 && t.dim() > 0 && t.numel() > 0 && t.size(0) % (2 * heads) == 0, file.map->path.string(),
         ": tensor \"", info.name, "\": ", describe(t), " does not hold ", heads, " heads of an even size");
  return unpermute_rope(t, heads);
}

}  // namespace detail

/// All tensors of a LLaMA file in `dtype` under Hugging Face's keys, query and key rows un-permuted for
/// rotate-half RoPE. `lm_head.weight` is there only where the file has its own output matrix. A tensor that
/// LLaMA models do not have is an Error naming it.
inline StateDict read_gguf_llama(const GgufFile& file, at::ScalarType dtype = at::kFloat) {
  const Json config = gguf_llama_config(file);
  StateDict dict;
  for (const auto& info : file.tensors) {
    auto name = hf_llama_name(info.name);
    expect(name.has_value(), file.map->path.string(), ": tensor \"", info.name,
           "\" has no place in a LLaMA model");
    Tensor t = detail::read_llama_tensor(file, info, *name, config, dtype);
    dict.emplace_back(std::move(*name), std::move(t));
  }
  return dict;
}

/// As above, from a path.
inline StateDict read_gguf_llama(const std::filesystem::path& path, at::ScalarType dtype = at::kFloat) {
  return read_gguf_llama(open_gguf(path), dtype);
}

}  // namespace morphvlm
