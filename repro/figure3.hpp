// Figure 3 of the paper: LoRA with and without the feed-forward blocks.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "experiments/mini/lora_placement.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Both published curves of one panel, as `read_published` found them; `suffix` ends their names.
Figure published_placements(const std::map<std::string, Series>& curves, const std::string& title,
                            const std::string& x, const std::string& y, const std::string& suffix = {});

/// Row F3.loss: is the loss unaffected by leaving out the feed-forward adapters? `published` holds
/// fig3_loss.csv. Also checked: the exact counts at the paper's size; that behind gates which are 0 and stay
/// so the curves are the same to the last bit; and that training there is found out.
RowResult placement_loss_row(const experiments::LoraPlacement& experiment,
                             const experiments::LoraPlacementResult& result,
                             const std::filesystem::path& published);

/// Row F3.memory: what the published memory curves (fig3_memory.csv) can and cannot say. Needs no training.
RowResult placement_memory_row(const std::filesystem::path& published);

}  // namespace morphvlm::repro
