// A small model of the paper's types, trained here on real text and pictures, for sweeps over many settings:
// PubMed abstracts for the language model, easy-VQA for the tower, the resampler and the gated blocks. What
// is done once is kept on disk; fine-tuning starts from it.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "experiments/mini/small_world_config.hpp"
#include "experiments/mini/vision_pretrain.hpp"
#include "experiments/mini/word_vocabulary.hpp"
#include "experiments/models.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/data/instruction.hpp"
#include "morphvlm/data/pubmedqa.hpp"
#include "morphvlm/data/row_order.hpp"
#include "morphvlm/io/checkpoint.hpp"
#include "morphvlm/train/loss.hpp"
#include "morphvlm/train/trainer.hpp"

namespace morphvlm::experiments {

/// The data of a small world: read once, the same for every language model.
struct SmallData {
  SmallWorldConfig config = {};
  WordVocabulary words = {};
  std::vector<PubMedQaExample> medical = {};
  VqaDataset pretrain = {}, finetune = {};
  Tensor features = {};                 ///< of all training pictures, by image id
  std::vector<std::int64_t> text = {};  ///< the abstracts' tokens, one after the other
};

/// Reads the data, and trains the tower unless that is done. Errors: a material that is missing.
SmallData open_small_data(const SmallWorldConfig& config);

/// easy-VQA's test questions, and what the world's tower sees of their pictures [n, patches, dim], by image
/// id.
VqaDataset small_test_data(const SmallWorldConfig& config);
Tensor small_test_features(const SmallWorldConfig& config, const VqaDataset& test);

/// OpenFlamingo's text of a question and its answer.
TokenIds vqa_text(const WordVocabulary& words, const VqaExample& example, bool image);

/// Multimodal-GPT's form of the same, labelled; the answer is a sentence, as A-OKVQA's.
LabelledIds instruction_ids(const WordVocabulary& words, const VqaExample& example);

/// PubMedQA's form of an abstract, labelled, contexts cut to leave room for the answer within `length`.
LabelledIds medical_ids(const WordVocabulary& words, const PubMedQaExample& example, std::int64_t length);

/// A small language model of each kind that the experiments need.
inline LlamaConfig small_config(const SmallWorldConfig& c, LlamaConfig) {
  return {.vocab_size = c.vocabulary,
          .hidden_size = 96,
          .intermediate_size = 256,
          .num_hidden_layers = 4,
          .num_attention_heads = 4,
          .max_position_embeddings = 256};
}
inline BioGPTConfig small_config(const SmallWorldConfig& c, BioGPTConfig) {
  return {.vocab_size = c.vocabulary,
          .hidden_size = 96,
          .num_hidden_layers = 4,
          .num_attention_heads = 4,
          .intermediate_size = 384,
          .max_position_embeddings = 256};
}

inline MPTConfig small_config(const SmallWorldConfig& c, MPTConfig) {
  return {.vocab_size = c.vocabulary, .d_model = 96, .n_layers = 4, .n_heads = 4, .max_seq_len = 256};
}

/// A tower's config in the world: the small ViT trained here; EfficientNet-Lite0 is what it is.
inline ClipVitConfig small_vision(const SmallWorldConfig& c, ClipVitConfig) { return c.vision.model; }
inline EfficientNetConfig small_vision(const SmallWorldConfig&, EfficientNetConfig e) { return e; }

/// A whole model of the world's sizes.
template <class Model>
typename Model::Config small_model_config(const SmallWorldConfig& c) {
  typename Model::Config config{.vision = small_vision(c, typename Model::Vision::Config{}),
                                .perceiver = c.perceiver,
                                .language = small_config(c, typename Model::Language::Config{}),
                                .cross_attention = c.cross_attention};
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) config.adapter = c.adapter;
  config.media_token_id = WordVocabulary::kImage;
  config.eoc_token_id = WordVocabulary::kEndChunk;
  return config;
}

}  // namespace morphvlm::experiments
