// The paper's third experiment: which blocks carry LoRA, and what the gates have to do with it.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "experiments/mini/small_world_config.hpp"

namespace morphvlm::experiments {

/// What is run: every placement with every seed, once with the gates as they were learned and once with gates
/// that are 0 and stay so.
struct LoraPlacement {
  SmallWorldConfig world = small_world_mini();
  std::int64_t seeds = 3;
  std::int64_t batch = 16;
  TrainConfig train = {.steps = 60, .lr = 4e-3, .schedule = Cosine{.warmup = 10}};
};

/// One placement with one kind of gates and one seed.
struct PlacementRun {
  std::string placement = {};
  bool live_gates = true;
  std::int64_t seed = 0;
  FinetuneRun run = {};
};

/// The placements in the order in which they are shown; the paper's two come first.
const std::vector<std::string>& placements();

/// What came out.
struct LoraPlacementResult {
  std::vector<PlacementRun> runs = {};
  std::string dead_message = {};     ///< what training with shut gates ends in unless it is asked for
  std::int64_t dead_parameters = 0;  ///< how many tensors that message names
  std::map<std::string, std::int64_t> full_size =
      {};  ///< trained parameters at OpenLLaMA-3B's size, rank 16, every 4th
};

/// Runs what is not finished yet under world.out / "placement".
LoraPlacementResult run(const LoraPlacement& experiment);

/// Trained parameters of each placement at the paper's size: ViT-L/14, OpenLLaMA-3B, rank 16, a gated block
/// before every 4th layer. No memory is needed.
std::map<std::string, std::int64_t> full_size_counts();

}  // namespace morphvlm::experiments
