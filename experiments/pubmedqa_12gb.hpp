// What the paper could not do: OpenLLaMA-3B on PubMedQA within a card of 12 GB. Counted without a card: what
// the weights and the optimizer need before the first activation is kept. With one, whatever its size,
// trained under the limit of that card.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/card_step.hpp"
#include "experiments/models.hpp"

namespace morphvlm::experiments {

/// What is counted.
struct Pubmedqa12Gb {
  double card_gib = 11.99;
  std::int64_t tokens = 512;  ///< of a row, contexts cut
  std::int64_t rows = 1;
  std::int64_t every = 4;  ///< language-model layers to a gated block
  LoRAConfig adapter = {.rank = 16, .alpha = 16};
  std::int64_t card_rows = 4;   ///< of a step on a card, where as many fit
  std::int64_t card_steps = 6;  ///< in each setting
};

/// Bytes of training with frozen weights in one dtype.
struct MemoryNeed {
  std::string dtype = {};
  std::int64_t language = 0;     ///< frozen weights of the language model
  std::int64_t others = 0;       ///< frozen weights of tower, resampler and gated blocks
  std::int64_t adapters = 0;     ///< fp32 weights, gradients and AdamW's two moments
  std::int64_t activations = 0;  ///< at least: each layer's input, and the logits with their gradient in fp32

  std::int64_t total() const { return language + others + adapters + activations; }
};

/// What came out.
struct Pubmedqa12GbResult {
  std::int64_t language_parameters = 0;
  std::vector<MemoryNeed> needs = {};  ///< fp32, then bf16
  std::vector<CardStep> steps = {};    ///< on a CUDA device under the limit; empty where there is none
  std::string no_steps = {};           ///< why there are none
};

/// Counts tensors without memory for them; trains where there is a CUDA device.
Pubmedqa12GbResult run(const Pubmedqa12Gb& experiment);

}  // namespace morphvlm::experiments
