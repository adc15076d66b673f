// Sizes of published models.
#pragma once

#include "morphvlm/model/bio_gpt.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/gpt_neox.hpp"
#include "morphvlm/model/mpt.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"

namespace morphvlm::presets {

/// CLIP ViT-L/14 at 224 pixels (OpenAI): 303,966,208 parameters.
inline constexpr ClipVitConfig clip_vit_l14{};

/// SigLIP's base tower, 224 pixels in patches of 16: 85,797,120 parameters without its pooling head.
inline constexpr ClipVitConfig siglip_base_16{.patch_size = 16,
                                              .hidden_size = 768,
                                              .num_hidden_layers = 12,
                                              .num_attention_heads = 12,
                                              .intermediate_size = 3072,
                                              .projection_dim = 0,
                                              .hidden_act = Activation::gelu_tanh,
                                              .layer_norm_eps = 1e-6,
                                              .tokens = VitTokens::after_ln_post,
                                              .class_token = false,
                                              .pre_norm = false,
                                              .conv_bias = true};

/// DINOv2's base tower at the 518 pixels of its positions: 86,579,712 parameters without its mask token.
inline constexpr ClipVitConfig dinov2_base_14{.image_size = 518,
                                              .hidden_size = 768,
                                              .num_hidden_layers = 12,
                                              .num_attention_heads = 12,
                                              .intermediate_size = 3072,
                                              .projection_dim = 0,
                                              .hidden_act = Activation::gelu,
                                              .layer_norm_eps = 1e-6,
                                              .tokens = VitTokens::after_ln_post,
                                              .pre_norm = false,
                                              .conv_bias = true,
                                              .layer_scale_value = 1.0};

/// OpenFlamingo's resampler: 63,019,008 parameters at width 1024.
inline constexpr PerceiverConfig openflamingo_perceiver{};

/// OpenLLaMA-3B: 3,426,473,600 parameters.
inline constexpr LlamaConfig open_llama_3b{};

/// LLaMA-7B (Multimodal-GPT): 6,738,415,616 parameters.
inline constexpr LlamaConfig llama_7b{
    .hidden_size = 4096, .intermediate_size = 11008, .num_hidden_layers = 32, .num_attention_heads = 32};

/// MPT-1B-RedPajama-200b (OpenFlamingo-3B): 1,311,442,944 parameters.
inline constexpr MPTConfig mpt_1b_redpajama{};

/// MPT-7B (OpenFlamingo-9B): 6,649,286,656 parameters.
inline constexpr MPTConfig mpt_7b{.d_model = 4096, .n_layers = 32, .n_heads = 32, .attn_qk_ln = false};

/// RedPajama-INCITE-3B (OpenFlamingo-4B): 2,775,864,320 parameters.
inline constexpr GPTNeoXConfig redpajama_incite_3b{};

/// BioGPT-Large: 1,571,188,800 parameters.
inline constexpr BioGPTConfig biogpt_large{};

/// BioGPT: 346,763,264 parameters.
inline constexpr BioGPTConfig biogpt{.vocab_size = 42384,
                                     .hidden_size = 1024,
                                     .num_hidden_layers = 24,
                                     .num_attention_heads = 16,
                                     .intermediate_size = 4096,
                                     .max_position_embeddings = 1024};

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
