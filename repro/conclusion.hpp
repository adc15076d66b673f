// The paper's conclusion: what did not fit, and what is left for later.
#pragma once

#include "experiments/device/pubmedqa_12gb.hpp"
#include "experiments/mini/bias_vl_stereoset.hpp"
#include "experiments/mini/vision_swap.hpp"
#include "repro/suite.hpp"

namespace morphvlm::repro {

/// Row C.1: OpenLLaMA-3B on PubMedQA within 11.99 GiB, by counting.
RowResult memory_row(const experiments::Pubmedqa12Gb& experiment,
                     const experiments::Pubmedqa12GbResult& result);

/// Row C.2.swap: does another vision model answer better?
RowResult vision_row(const experiments::VisionSwap& experiment, const experiments::VisionSwapResult& result);

/// Row C.2.bias: VL-StereoSet's scores, with pictures and without.
RowResult bias_row(const experiments::BiasVlStereoset& experiment,
                   const experiments::BiasVlStereosetResult& result);

}  // namespace morphvlm::repro
