// The rows at device scale but for Figure 3's: what the paper's full-size models cost on a card.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "experiments/device/device_asking.hpp"
#include "experiments/device/device_scale_config.hpp"
#include "experiments/device/device_training.hpp"
#include "experiments/device/pubmedqa_12gb.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Settings beside each other: parameters, planned and measured memory, time, loss.
Table card_table(std::string title, std::span<const experiments::DeviceStep> steps);

/// Of one setting: that it was done, that its plan is right within 5 % (of a small world: skipped), and that
/// the loss on the same rows does not rise.
std::vector<Check> card_checks(const experiments::DeviceScale& scale, const experiments::DeviceStep& step);

/// The beginning of a row at device scale.
RowResult begin_device_row(const std::string& id, const experiments::DeviceScale& scale, Table table);

/// Whether all settings were done. If not, the row says which were not, and its page is made.
bool all_fit(RowResult& row, std::span<const experiments::DeviceStep> steps);

/// Notes the memory and the time of a setting, and the memory for the recording.
void add_card_metrics(RowResult& row, const experiments::DeviceStep& step);

/// Row T1.baseline: what OpenFlamingo's protocol costs a question.
RowResult device_baseline_row(const experiments::DeviceScale& scale,
                              const experiments::DeviceAskingResult& result);

/// Row T1.aokvqa: what a step of fine-tuning costs.
RowResult device_aokvqa_row(const experiments::DeviceScale& scale,
                            const std::vector<experiments::DeviceStep>& steps);

/// Row F4.time: what a step over both kinds of data costs beside one over pictures alone, and the published
/// rates of steps.
RowResult device_biogpt_row(const experiments::DeviceScale& scale, const experiments::BioGPTSteps& steps);

/// Row C.1: what fits under the card's limit.
RowResult device_memory_row(const experiments::Pubmedqa12Gb& experiment,
                            const experiments::DeviceScale& scale, const experiments::CardTrial& trial);

/// Row C.2.swap: what a step costs behind each tower.
RowResult device_swap_row(const experiments::DeviceScale& scale,
                          const std::vector<experiments::DeviceStep>& steps);

}  // namespace morphvlm::repro
