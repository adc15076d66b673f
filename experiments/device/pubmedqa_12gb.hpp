// What the paper could not do: OpenLLaMA-3B on PubMedQA within a card of 12 GB. Counted without a card: what
// the weights and the optimizer need before the first activation is kept. At device scale trained under the
// limit of that card, whatever the real one's size.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/device/device_scale.hpp"
#include "experiments/device/device_step.hpp"

namespace morphvlm::experiments {

/// What is counted.
struct Pubmedqa12Gb {
  double card_gib = 11.99;
  std::int64_t tokens = 512;  ///< of a row, contexts cut
  std::int64_t rows = 1;
  std::int64_t every = 4;  ///< language-model layers to a gated block
  LoRAConfig adapter = {.rank = 16, .alpha = 16};
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

/// What was counted.
struct Pubmedqa12GbResult {
  std::int64_t language_parameters = 0;
  std::vector<MemoryNeed> needs = {};  ///< fp32, then bf16
};

/// Counts tensors without memory for them.
Pubmedqa12GbResult run(const Pubmedqa12Gb& experiment);

/// What was trained under a limit.
struct CardTrial {
  std::int64_t limit = 0;  ///< bytes: what the card of the experiment has, or for small sizes what lies
                           ///< between the plans of one row in fp32 and in bf16
  std::vector<DeviceStep> steps = {};  ///< fp32 as the paper had it first
};

/// Trains in one setting after the other: fp32, 16 bits with what it takes to fit, 4 bits, and both wide ones
/// streamed from the host. On CUDA an allocation beyond the limit fails as on a card of that size; on a CPU
/// steps that took more count as out of memory.
CardTrial run_on_card(const Pubmedqa12Gb& experiment, const DeviceScale& scale);

}  // namespace morphvlm::experiments
