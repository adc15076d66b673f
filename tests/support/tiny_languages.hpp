// Each language model at a size for tests, in a model of the sizes of tiny_vlm.hpp.
#pragma once

#include "morphvlm/model.hpp"
#include "morphvlm/vlm.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::testing {

template <LanguageModel L>
typename L::Config tiny_language();
template <>
inline LlamaConfig tiny_language<OpenLLaMA>() {
  return tiny_config<TinyVlm<NoAdapter>>().language;
}
template <>
inline MPTConfig tiny_language<MPT>() {
  return {.vocab_size = kTinyVocabulary, .d_model = 32, .n_layers = 4, .n_heads = 4};
}
template <>
inline GPTNeoXConfig tiny_language<GPTNeoX>() {
  return {.vocab_size = kTinyVocabulary,
          .hidden_size = 32,
          .num_hidden_layers = 4,
          .num_attention_heads = 4,
          .intermediate_size = 44};
}
template <>
inline BioGPTConfig tiny_language<BioGPT>() {
  return {.vocab_size = kTinyVocabulary,
          .hidden_size = 32,
          .num_hidden_layers = 4,
          .num_attention_heads = 4,
          .intermediate_size = 44,
          .max_position_embeddings = 64};
}

/// The config of a model that differs from TinyVlm by its language model.
template <class Model>
typename Model::Config tiny_config_with() {
  const auto like = tiny_config<TinyVlm<typename Model::Policy>>();
  typename Model::Config c{.vision = like.vision,
                           .perceiver = like.perceiver,
                           .language = tiny_language<typename Model::Language>(),
                           .cross_attention = like.cross_attention,
                           .media_token_id = like.media_token_id,
                           .eoc_token_id = like.eoc_token_id};
  c.adapter = like.adapter;
  return c;
}

}  // namespace morphvlm::testing
