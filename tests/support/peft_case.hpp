// The small Flamingo of tests/golden/peft_folders.py: its config, its weights, its inputs.
#pragma once

#include <string>

#include "morphvlm/adapt.hpp"
#include "morphvlm/io/checkpoint.hpp"
#include "morphvlm/io/keys.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/vlm.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::testing {

template <AdapterPolicy P>
using SmallFlamingo = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

inline LlamaConfig small_llama_config(const Json& meta) {
  LlamaConfig config;
  update_from_json(config, meta.at("language"), "language");
  return config;
}

template <class Model>
typename Model::Config small_flamingo_config(const Json& meta) {
  const Json &vision = meta.at("vision"), &cross = meta.at("cross_attention"),
             &perceiver = meta.at("perceiver");
  const auto width = vision.at("width").get<std::int64_t>();
  return {.vision = {.image_size = vision.at("image_size"),
                     .patch_size = vision.at("patch_size"),
                     .hidden_size = width,
                     .num_hidden_layers = vision.at("layers"),
                     .num_attention_heads = vision.at("heads"),
                     .intermediate_size = 2 * width,
                     .projection_dim = vision.at("output_dim")},
          .perceiver = {.depth = perceiver.at("depth"),
                        .heads = perceiver.at("heads"),
                        .head_dim = perceiver.at("dim_head"),
                        .latents = perceiver.at("num_latents"),
                        .ff_mult = perceiver.at("ff_mult")},
          .language = small_llama_config(meta),
          .cross_attention = {.every = meta.at("cross_attn_every_n_layers"),
                              .heads = cross.at("heads"),
                              .head_dim = cross.at("dim_head"),
                              .ff_mult = cross.at("ff_mult")},
          .media_token_id = meta.at("media_token_id"),
          .eoc_token_id = meta.at("eoc_token_id")};
}

/// Frozen, with the reference's weights and adapters as `init` makes them.
template <class Model>
Model small_flamingo(const Golden& golden, const LoRAConfig& lora = {}) {
  auto config = small_flamingo_config<Model>(golden.meta);
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) config.adapter = lora;
  auto model = Model::init(config, {at::TensorOptions(at::kFloat), make_generator(1)});
  const auto theirs = [&](const std::string& key) {
    return openflamingo_key(key, Model::Language::layers_path, config.cross_attention.every);
  };
  load_base(model, rename_to_module(model, formula_state(golden.meta.at("parameters")), theirs), "formula");
  freeze(model);
  return model;
}

inline Tensor small_pixels() { return formula_input("pixels", {2, 2, 1, 3, 14, 14}).squeeze(2); }

/// Logits at padded positions are compared with nothing.
inline Tensor where_valid(const Tensor& logits, const Tensor& mask) {
  return logits.masked_fill(mask.to(at::kBool).unsqueeze(-1).logical_not(), 0);
}

}  // namespace morphvlm::testing
