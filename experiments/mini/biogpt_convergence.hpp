// The paper's fourth experiment: BioGPT, fine-tuned on medical texts and pictures together or on pictures
// alone.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/mini/small_world_config.hpp"

namespace morphvlm::experiments {

/// What is run: with every seed, once with both kinds of data and once with questions about pictures alone.
struct BioGPTConvergence {
  SmallWorldConfig world = small_world_mini();
  std::int64_t seeds = 5;
  std::int64_t batch = 16;          ///< questions about pictures a step
  std::int64_t medical_batch = 16;  ///< rows of PubMedQA's form a step besides
  TrainConfig train = {.steps = 100, .lr = 1e-3, .schedule = Cosine{.warmup = 10}};
};

/// One run.
struct BioGPTRun {
  bool combined = false;
  std::int64_t seed = 0;
  FinetuneRun run = {};
};

/// What came out.
struct BioGPTConvergenceResult {
  std::vector<BioGPTRun> runs = {};
  FinetuneRun repeated = {};  ///< the first run once more, not from what is kept
};

/// Runs what is not finished yet under world.out / "biogpt-convergence". The language model is
/// pre-trained on PubMed abstracts before, unless that is done.
BioGPTConvergenceResult run(const BioGPTConvergence& experiment);

}  // namespace morphvlm::experiments
