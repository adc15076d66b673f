// The paper's second experiment: learning-rate schedules and warm-ups.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "experiments/mini/small_world_config.hpp"

namespace morphvlm::experiments {

/// What is run: every schedule with every warm-up and seed, and what the paper's "exponential" run was, a
/// cosine whose gradients are accumulated over four batches.
struct LrSchedules {
  SmallWorldConfig world = small_world_mini();
  std::int64_t seeds = 5;
  std::int64_t batch = 16;
  std::int64_t accumulate = 4;  ///< of the accumulating run
  TrainConfig train = {.steps = 60, .lr = 4e-3};
};

/// The settings of one curve.
struct ScheduleSetting {
  std::string schedule = {};  ///< cosine, linear, constant or exponential
  std::int64_t warmup = 0;
  std::int64_t accumulate = 1;
  bool operator==(const ScheduleSetting&) const = default;
};

/// "cosine, warm-up 10" and, where gradients are accumulated, "cosine, warm-up 10, accumulation 4".
std::string to_string(const ScheduleSetting& setting);

/// The schedule itself. An unknown name is an Error.
Schedule schedule_of(const ScheduleSetting& setting);

/// The names of the schedules and the warm-ups that are tried.
inline constexpr std::string_view kSchedules[] = {"cosine", "linear", "constant", "exponential"};
inline constexpr std::int64_t kWarmups[] = {0, 5, 10, 20};

/// "cosine-warmup10-accumulate4-seed0": the folder of a setting's run.
std::string folder_of(const ScheduleSetting& setting, std::int64_t seed);

/// All settings in the order in which they are shown, the accumulating one last.
std::vector<ScheduleSetting> schedule_settings(const LrSchedules& experiment);

/// One setting with one seed.
struct ScheduleRun {
  ScheduleSetting setting = {};
  std::int64_t seed = 0;
  FinetuneRun run = {};
};

/// What came out.
struct LrSchedulesResult {
  std::vector<ScheduleRun> runs = {};
  FinetuneRun repeated = {};  ///< the first run once more, not from what is kept
};

/// Runs what is not finished yet under world.out / "schedules".
LrSchedulesResult run(const LrSchedules& experiment);

}  // namespace morphvlm::experiments
