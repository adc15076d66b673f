// Table 1 of the paper, first line: OpenFlamingo as it is.
#pragma once

#include "experiments/mini/baseline_vqav2.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Row T1.baseline: accuracy with 0, 2, 4 and 8 demonstrations, and what the paper's 45.5 is against the
/// authors' notebook, which prints 43.53.
RowResult baseline_row(const experiments::BaselineVqav2& experiment,
                       const experiments::BaselineVqav2Result& result);

}  // namespace morphvlm::repro
