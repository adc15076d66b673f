// How to train, what is told meanwhile, and what is kept.
#pragma once

#include <ATen/core/Generator.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "morphvlm/core/field_notes.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/io/run_checkpoint.hpp"
#include "morphvlm/train/optim.hpp"
#include "morphvlm/train/schedule.hpp"

namespace morphvlm {

class EventFile;

/// How to train.
struct TrainConfig {
  std::int64_t steps = 600;                  ///< optimizer steps
  std::int64_t accumulate = 1;               ///< batches a step
  double lr = 1e-4;                          ///< peak rate, which `schedule` scales
  double weight_decay = 0;                   ///< AdamWConfig::weight_decay
  double beta1 = 0.9;                        ///< AdamWConfig::beta1
  double beta2 = 0.999;                      ///< AdamWConfig::beta2
  double eps = 1e-8;                         ///< AdamWConfig::eps
  double clip = 1.0;                         ///< largest norm of all gradients together; 0: no limit
  Schedule schedule = Constant{};            ///< of the rate over `steps`
  std::vector<ParameterRule> rules = {};     ///< other rates and decays for some parameters
  std::vector<std::string> allow_dead = {};  ///< patterns of parameters that may have no gradient
  /// So many steps in a row may be skipped because their loss or gradient is not finite; one more ends the
  /// run.
  std::int64_t skip_at_most = 2;
  double lora_plus_ratio = 1;  ///< AdamWConfig::lora_plus_ratio
};

/// Their help and ranges. The least eps is what fp32 still tells from 0.
template <>
inline constexpr auto field_notes<TrainConfig> = std::to_array<FieldNote>(
    {{"steps", "optimizer steps", at_least(1)},
     {"accumulate", "batches a step", at_least(1)},
     {"lr", "peak learning rate", from_to(0, kMostRate)},
     {"weight_decay", "AdamW's, decoupled", from_to(0, kMostRate)},
     {"beta1", "AdamW's", from_below(0, 1)},
     {"beta2", "AdamW's", from_below(0, 1)},
     {"eps", "AdamW's", from_to(1e-30, 1e10)},
     {"clip", "largest norm of all gradients together; 0: no limit", at_least(0)},
     {"schedule", "of the rate: constant, linear, cosine or exponential"},
     {"rules", "other rates and decays for some parameters"},
     {"allow_dead", "patterns of parameters that may have no gradient"},
     {"skip_at_most", "steps in a row that may be skipped because their loss is not finite", at_least(0)},
     {"lora_plus_ratio", "LoRA+: factor on the rate of LoRA's B", above(0, kMostRate)}});

/// What training tells its caller besides the changed parameters.
struct TrainLog {
  std::filesystem::path file = {};  ///< JSON lines, one a step; empty: none
  std::string title = "training";   ///< of the progress bar; empty: none
  /// For TensorBoard: loss, rate and gradient norm a step, the norms of the trained tensors now and then;
  /// empty: none.
  std::filesystem::path events = {};
  /// Shows in `events` what the model has come to, in all processes, whenever it is scored; only rank 0's
  /// file is written.
  std::function<void(EventFile& events, std::int64_t step)> show = {};
  /// What batch `index` holds, for messages about it; empty: its number is all that is said.
  std::function<std::string(std::int64_t index)> describe = {};
};

/// Where a run keeps what decides its next step, so that it can be killed at any time and go on. While it is
/// set, SIGTERM and SIGINT make a checkpoint and raise Interrupted; a second one ends the process at once.
struct TrainCheckpoints {
  std::filesystem::path folder = {};  ///< empty: none are kept
  std::int64_t every = 100;           ///< steps from one to the next
  KeepCheckpoints keep = {};          ///< which stay when a new one comes
  bool resume = false;                ///< go on from the newest whole one, or begin where there is none
  /// How good the model is now, the lower the better; empty: the mean loss since the last checkpoint. Of
  /// several processes all call it, and rank 0's answer counts.
  std::function<double()> score = {};
  std::vector<at::Generator> generators = {};  ///< that batches draw from, if they do: kept and put back
  Json identity = {};  ///< what decides the batches; a run with another one does not go on from here
};

}  // namespace morphvlm
