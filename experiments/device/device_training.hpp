// Training at device scale: what a step of the paper's other experiments costs.
#pragma once

#include <vector>

#include "experiments/device/card_step.hpp"
#include "experiments/device/device_scale.hpp"

namespace morphvlm::experiments {

/// OpenLLaMA-3B with LoRA at all attention, rows of A-OKVQA's form: in 16 bits, and in fp32.
std::vector<CardStep> aokvqa_steps(const DeviceScale& scale);

/// BioGPT-Large with LoRA at all attention.
struct BioGptSteps {
  CardStep pictures = {};   ///< rows of A-OKVQA's form
  CardStep abstracts = {};  ///< rows of PubMedQA's, text alone
};

/// A step of each kind of data. A step over both costs their sum.
BioGptSteps biogpt_steps(const DeviceScale& scale);

/// OpenLLaMA-3B behind ViT-L/14, then behind EfficientNet-Lite0, on the same number of rows.
std::vector<CardStep> swap_steps(const DeviceScale& scale);

}  // namespace morphvlm::experiments
