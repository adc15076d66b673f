// Table 1 of the paper, the rows that are checked so far.
#pragma once

#include <filesystem>

#include "experiments/aokvqa_finetune.hpp"
#include "repro/claims.hpp"

namespace morphvlm::repro {

/// Row T1.aokvqa and everything that is shown of it.
struct Table1Row {
  Row row = {};
  Report report = {};
  Table table = {};
  Page page = {};
};

/// Runs T1.aokvqa at mini scale. `baselines` holds t1_mini.json with every recorded seed.
Table1Row aokvqa_row(const experiments::AokvqaFinetune& experiment, const std::filesystem::path& baselines);

}  // namespace morphvlm::repro
