// Experiment 0 of the paper: OpenFlamingo's evaluation protocol on VQAv2, with 0, 2, 4 and 8 demonstrations.
// At mini scale: a small MPT trained here, and easy-VQA.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "experiments/mini/small_world_config.hpp"
#include "morphvlm/eval/evaluate.hpp"

namespace morphvlm::experiments {

/// What is run. A trial draws its questions and demonstrations by its own seed, as OpenFlamingo's do.
struct BaselineVqav2 {
  SmallWorldConfig world = small_world_mini();
  std::int64_t seeds = 5;         ///< trials
  std::int64_t samples = 500;     ///< questions a trial
  std::int64_t query_set = 2048;  ///< training rows that demonstrations come from
  EvaluateConfig evaluate = {.batch = 32, .num_beams = 3, .length_penalty = 0, .title = ""};
};

/// How many demonstrations are tried.
inline constexpr std::int64_t kShots[] = {0, 2, 4, 8};

/// One trial with one number of demonstrations.
struct BaselineTrial {
  std::int64_t shots = 0;
  std::int64_t seed = 0;
  std::int64_t questions = 0, right = 0;
  std::int64_t majority = 0;  ///< right if each question got its most frequent answer in training
  std::vector<std::string> answers = {};
};

/// What came out.
struct BaselineVqav2Result {
  std::vector<BaselineTrial> trials = {};
  BaselineTrial repeated = {};  ///< the first trial once more, not from what is kept
};

/// Runs what is not finished yet under world.out / "baseline".
BaselineVqav2Result run(const BaselineVqav2& experiment);

}  // namespace morphvlm::experiments
