// What the experiments at device scale share: sizes, rows, and where they run.
#pragma once

#include <cstdint>
#include <string>
#include <type_traits>

#include "experiments/device/device_scale_config.hpp"
#include "experiments/mini/small_world.hpp"
#include "morphvlm/core/device.hpp"
#include "morphvlm/plan/plan.hpp"
#include "morphvlm/vlm/presets.hpp"

namespace morphvlm::experiments {

/// Why nothing can run there; empty where it can.
inline std::string reason_to_skip(const DeviceScale& d) {
  if (d.device == "cpu") return {};
  return has_cuda() ? "" : "no CUDA device";
}

/// Frozen weights and activations there: 16 bits, or what is asked for.
inline PlanSetup device_setup(const DeviceScale& d, at::ScalarType dtype = at::kBFloat16) {
  return {.dtype = dtype, .device = device_named(d.device).type()};
}

/// Rows of a question about a picture, full of tokens.
inline StepShape picture_rows(const DeviceScale& d) {
  return {.batch = d.rows, .seq = 64, .images = 1, .supervised = 8, .packed = true};
}

/// Rows of an abstract, cut at 512 tokens as the authors did, of which a long answer is learned.
inline StepShape abstract_rows(const DeviceScale& d) {
  const bool small = d.sizes == Sizes::small;
  return {
      .batch = d.rows, .seq = small ? 200 : 512, .images = 0, .supervised = small ? 24 : 64, .packed = true};
}

/// A Flamingo around `language`, or of a small world's sizes; `every`-th layer behind a gated block.
template <class Model>
typename Model::Config device_config(const DeviceScale& d, const typename Model::Language::Config& language,
                                     std::int64_t every) {
  auto config = d.sizes == Sizes::small ? small_model_config<Model>(small_world_mini())
                                        : presets::flamingo<Model>(language, every);
  if constexpr (!std::is_same_v<typename Model::Policy, NoAdapter>) config.adapter = d.adapter;
  return config;
}

}  // namespace morphvlm::experiments
