// Figure 3 at device scale: LoRA with and without the feed-forward blocks, on the paper's full-size model.
#pragma once

#include <filesystem>
#include <vector>

#include "experiments/device/device_placement.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Row F3.loss: counts, and that behind shut gates the losses with and without feed-forward adapters are the
/// same. Random rows teach nothing that decides the claim.
RowResult device_placement_loss_row(const experiments::DeviceScale& scale,
                                    const std::vector<experiments::PlacementSteps>& runs);

/// Row F3.memory: the device's and the host's memory after each step, and whether what the feed-forward
/// adapters take is gone at the end. `published` holds fig3_memory.csv.
RowResult device_placement_memory_row(const experiments::DeviceScale& scale,
                                      const std::vector<experiments::PlacementSteps>& runs,
                                      const std::filesystem::path& published);

}  // namespace morphvlm::repro
