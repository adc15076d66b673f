// Whole models of the paper by name.
#pragma once

#include <cstdint>

#include "morphvlm/model/presets.hpp"

namespace morphvlm::presets {

/// The config of a Flamingo around `language`: ViT-L/14, OpenFlamingo's resampler, a gated block before every
/// `every`-th layer. `<|endofchunk|>` and `<image>` become the two tokens after the vocabulary.
template <class Model>
typename Model::Config flamingo(typename Model::Language::Config language, std::int64_t every = 4) {
  typename Model::Config config{.language = language};
  config.cross_attention.every = every;
  config.eoc_token_id = language.vocab_size;
  config.media_token_id = language.vocab_size + 1;
  config.language.vocab_size += 2;
  return config;
}

}  // namespace morphvlm::presets
