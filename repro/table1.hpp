// Table 1 of the paper, the rows that are checked so far.
#pragma once

#include <filesystem>

#include "experiments/aokvqa_finetune.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Runs T1.aokvqa at mini scale. `baselines` holds t1_mini.json with every recorded seed.
RowResult aokvqa_row(const experiments::AokvqaFinetune& experiment, const std::filesystem::path& baselines);

}  // namespace morphvlm::repro
