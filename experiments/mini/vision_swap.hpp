// What the paper leaves for later: another vision model. The small ViT that was trained here and
// EfficientNet-Lite0 with its published weights, each behind a resampler and gated blocks that are trained
// on as many questions.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/mini/small_world_config.hpp"
#include "morphvlm/eval/evaluate.hpp"

namespace morphvlm::experiments {

/// What is run.
struct VisionSwap {
  SmallWorldConfig world = small_world_mini();
  std::int64_t seeds = 3;
  std::int64_t pixels = 128;  ///< side of the pictures that EfficientNet-Lite0 sees
  std::int64_t samples = 1000;
  TrainConfig train = {.steps = 600, .lr = 4e-3, .beta2 = 0.95, .schedule = Cosine{.warmup = 20}};
  EvaluateConfig evaluate = {.batch = 64, .max_new_tokens = 3, .title = ""};
};

/// The towers in the order in which they are shown.
inline constexpr std::string_view kTowers[] = {"ViT", "EfficientNet-Lite0"};

/// One tower with one seed.
struct SwapRun {
  std::string tower = {};
  std::int64_t seed = 0;
  std::int64_t tokens = 0, width = 0;  ///< that a picture becomes
  std::int64_t tower_parameters = 0;   ///< frozen
  std::int64_t parameters = 0;         ///< trained
  std::vector<double> losses = {};
  std::vector<double> scores = {};  ///< of each question, 0 or 1
};

/// What came out.
struct VisionSwapResult {
  std::vector<SwapRun> runs = {};
  double majority = 0;  ///< accuracy of each question's most frequent answer
};

/// Runs what is not finished yet under world.out / "swap". Errors: no weights of EfficientNet-Lite0.
VisionSwapResult run(const VisionSwap& experiment);

}  // namespace morphvlm::experiments
