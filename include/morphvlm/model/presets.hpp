// Sizes of published models.
#pragma once

#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"

namespace morphvlm::presets {

/// CLIP ViT-L/14 at 224 pixels (OpenAI): 303,966,208 parameters.
inline constexpr ClipVitConfig clip_vit_l14{};

/// OpenFlamingo's resampler: 63,019,008 parameters at width 1024.
inline constexpr PerceiverConfig openflamingo_perceiver{};

/// OpenLLaMA-3B: 3,426,473,600 parameters.
inline constexpr LlamaConfig open_llama_3b{};

/// SmolLM2-135M: 134,515,008 parameters.
inline constexpr LlamaConfig smollm2_135m{.vocab_size = 49152,
                                          .hidden_size = 576,
                                          .intermediate_size = 1536,
                                          .num_hidden_layers = 30,
                                          .num_attention_heads = 9,
                                          .num_key_value_heads = 3,
                                          .max_position_embeddings = 8192,
                                          .rms_norm_eps = 1e-5,
                                          .rope_theta = 100000,
                                          .tie_word_embeddings = true};

}  // namespace morphvlm::presets
