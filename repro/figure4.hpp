// Figure 4 and Table 1 of the paper, BioGPT: does it converge sooner on vision-language data alone?
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "experiments/mini/biogpt_convergence.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Rows T1.bio (times to converge, 65 against 105 minutes), F4.time and F4.step, from the same runs.
/// `published` holds fig4_loss_time.csv and fig4_loss_step.csv.
RowResult biogpt_table_row(const experiments::BioGPTConvergence& experiment,
                           const experiments::BioGPTConvergenceResult& result,
                           const std::filesystem::path& published, const std::string& scale = "mini");
RowResult biogpt_time_row(const experiments::BioGPTConvergence& experiment,
                          const experiments::BioGPTConvergenceResult& result,
                          const std::filesystem::path& published, const std::string& scale = "mini");
RowResult biogpt_step_row(const experiments::BioGPTConvergence& experiment,
                          const experiments::BioGPTConvergenceResult& result,
                          const std::filesystem::path& published, const std::string& scale = "mini");

}  // namespace morphvlm::repro
