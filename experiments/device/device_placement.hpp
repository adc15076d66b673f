// The paper's third experiment at device scale: what each placement of LoRA costs, step by step.
#pragma once

#include <string>
#include <vector>

#include "experiments/device/device_scale.hpp"
#include "experiments/device/device_step.hpp"

namespace morphvlm::experiments {

/// One placement, behind gates that are half open or shut.
struct PlacementSteps {
  std::string placement = {};  ///< as in `placements()`
  bool live_gates = true;
  DeviceStep step = {};
};

/// Trains OpenLLaMA-3B with LoRA at each placement on the same rows. With shut gates the adapters of gated
/// blocks have no gradient.
std::vector<PlacementSteps> placement_steps(const DeviceScale& scale);

}  // namespace morphvlm::experiments
