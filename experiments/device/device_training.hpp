// Training at device scale: what a step of the paper's other experiments costs.
#pragma once

#include <vector>

#include "experiments/device/device_scale.hpp"
#include "experiments/device/device_step.hpp"

namespace morphvlm::experiments {

/// OpenLLaMA-3B with LoRA at all attention, rows of A-OKVQA's form: in 16 bits, and in fp32.
std::vector<DeviceStep> aokvqa_steps(const DeviceScale& scale);

/// BioGPT-Large with LoRA at all attention.
struct BioGPTSteps {
  DeviceStep pictures = {};   ///< rows of A-OKVQA's form
  DeviceStep abstracts = {};  ///< rows of PubMedQA's, text alone
};

/// A step of each kind of data. A step over both costs their sum.
BioGPTSteps biogpt_steps(const DeviceScale& scale);

/// OpenLLaMA-3B behind ViT-L/14, then behind EfficientNet-Lite0, on the same number of rows.
std::vector<DeviceStep> swap_steps(const DeviceScale& scale);

}  // namespace morphvlm::experiments
