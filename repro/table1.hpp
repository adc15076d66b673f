// Table 1 of the paper: fine-tuning on A-OKVQA.
#pragma once

#include "experiments/mini/aokvqa_finetune.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Row T1.aokvqa: does LoRA fine-tuning lift the accuracy? By a paired interval over questions and by a test
/// over fine-tunings.
RowResult aokvqa_row(const experiments::AokvqaFinetune& experiment,
                     const experiments::AokvqaFinetuneResult& result);

}  // namespace morphvlm::repro
