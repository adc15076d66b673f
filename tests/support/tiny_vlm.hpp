// A whole VLM small enough for a test to train, with random weights that a seed decides.
#pragma once

#include <ATen/core/grad_mode.h>

#include <cstdint>
#include <string>

#include "morphvlm/adapt.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/vlm.hpp"

namespace morphvlm::testing {

template <AdapterPolicy P>
using TinyVlm = VLM<ClipViT, Perceiver, OpenLLaMA, P>;

inline constexpr std::int64_t kTinyMedia = 48, kTinyEnd = 49, kTinyVocabulary = 50, kTinyImage = 8;

/// Four decoder layers, gated blocks before the second and the fourth, gates open.
template <class Model>
typename Model::Config tiny_config() {
  typename Model::Config c{
      .vision = {.image_size = kTinyImage,
                 .patch_size = 4,
                 .hidden_size = 24,
                 .num_hidden_layers = 1,
                 .num_attention_heads = 2,
                 .intermediate_size = 40,
                 .projection_dim = 0},
      .perceiver = {.depth = 1, .heads = 2, .head_dim = 8, .latents = 3, .ff_mult = 2},
      .language = {.vocab_size = kTinyVocabulary,
                   .hidden_size = 32,
                   .intermediate_size = 44,
                   .num_hidden_layers = 4,
                   .num_attention_heads = 4,
                   .num_key_value_heads = 2},
      .cross_attention = {.every = 2, .heads = 2, .head_dim = 8, .ff_mult = 2, .gate_value = 0.5},
      .media_token_id = kTinyMedia,
      .eoc_token_id = kTinyEnd};
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) c.adapter = {.rank = 4, .alpha = 8};
  return c;
}

/// The model, frozen. Its head is large enough for a loss near 0.
template <class Model>
Model tiny_model(std::uint64_t seed, const typename Model::Config& config = tiny_config<Model>(),
                 at::ScalarType dtype = at::kFloat) {
  Model model = Model::init(config, {at::TensorOptions(dtype), make_generator(seed)});
  at::NoGradGuard no_grad;
  model.lang_encoder.lm_head.weight.mul_(12);
  freeze(model);
  return model;
}

/// Gives every adapter's second factor values other than zero, as if it had been trained.
template <class Model>
void wake_adapters(Model& model, std::uint64_t seed) {
  at::NoGradGuard no_grad;
  auto generator = make_generator(seed);
  visit(model, [&](const std::string& name, Tensor& t) {
    if (matches(name, "*.adapter.lora_B")) t.normal_(0, 0.3, generator);
  });
}

/// Pixels [batch, media, 3, S, S].
inline Tensor tiny_pixels(std::uint64_t seed, std::int64_t batch, std::int64_t media = 1) {
  return at::empty({batch, media, 3, kTinyImage, kTinyImage}, at::kFloat).normal_(0, 1, make_generator(seed));
}

}  // namespace morphvlm::testing
