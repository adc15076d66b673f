// Figure 2 of the paper: learning-rate schedules.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "morphvlm/train/schedule.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// A published learning-rate curve, the schedule that its legend names, and the one that draws it.
struct PublishedSchedule {
  std::string curve = {};         ///< in fig2_learning_rate.csv
  Schedule legend = {};           ///< what the paper says it is
  Schedule drawn = {};            ///< what its points are
  std::int64_t accumulation = 1;  ///< logged steps to an optimizer step
};

/// The three curves of the figure.
std::vector<PublishedSchedule> published_schedules();

/// The rate logged at global step `step`: that of the schedule after this step's update.
double logged_rate(const Schedule& schedule, double step, std::int64_t accumulation);

/// Row F2.lr: are the published learning-rate curves what their legend says? `published` holds
/// fig2_learning_rate.csv. Needs no training: both sides are known to the last digit that the figure shows.
RowResult learning_rate_row(const std::vector<PublishedSchedule>& schedules,
                            const std::filesystem::path& published);

}  // namespace morphvlm::repro
