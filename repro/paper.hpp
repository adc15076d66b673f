// The rows at paper scale that have no small model's texts: real weights and data, asked and trained by the
// programs. F2.loss, T1.bio and F4 are judged as at mini scale.
#pragma once

#include <string>
#include <vector>

#include "experiments/paper/paper_scale.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Row T1.baseline: does the interval of the questions asked hold the paper's accuracy? `asked` by `kShots`.
RowResult paper_baseline_row(const experiments::PaperScale& scale,
                             const std::vector<experiments::PaperAnswers>& asked);

/// Row T1.aokvqa: the gain on the same questions, over the fine-tunings' seeds.
RowResult paper_aokvqa_row(const experiments::PaperScale& scale, const experiments::AokvqaOnPaper& result);

/// Row F3.loss: is the late loss unaffected by leaving out the feed-forward adapters?
RowResult paper_placement_row(const experiments::PaperScale& scale,
                              const experiments::PlacementOnPaper& result);

/// Row C.2.bias: VL-StereoSet's scores.
RowResult paper_bias_row(const experiments::PaperScale& scale, const experiments::PaperAnswers& asked);

}  // namespace morphvlm::repro
