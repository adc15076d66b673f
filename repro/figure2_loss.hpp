// Figure 2 of the paper, right: the loss under different learning-rate schedules.
#pragma once

#include <filesystem>
#include <string>

#include "experiments/mini/lr_schedules.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Row F2.loss: the paper's three statements on schedules and warm-up, here and on its own published points.
/// `published` holds fig2_loss.csv.
RowResult schedule_loss_row(const experiments::LrSchedules& experiment,
                            const experiments::LrSchedulesResult& result,
                            const std::filesystem::path& published, const std::string& scale = "mini");

/// Minutes from a curve's first point to where its line first falls below `level`; NaN if it never does.
double time_to_fall_below(const Series& curve, double level);

}  // namespace morphvlm::repro
