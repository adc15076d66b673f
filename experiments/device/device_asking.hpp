// Experiment 0 of the paper at device scale: what a question costs with 0, 2, 4 and 8 demonstrations.
#pragma once

#include <cstdint>
#include <vector>

#include "experiments/device/device_scale.hpp"

namespace morphvlm::experiments {

/// Questions with one number of demonstrations.
struct AskedShots {
  std::int64_t shots = 0;
  std::int64_t images = 0, tokens = 0;  ///< of a prompt
  std::int64_t questions = 0;           ///< asked at once
  double seconds = 0;                   ///< a question, the median over all batches but the first
  std::int64_t peak = 0;                ///< bytes of tensors, weights included
  std::int64_t apart = 0;               ///< tokens in which the first batch's answers and the same batch's
                                        ///< asked again differ
};

/// What came out.
struct DeviceAskingResult {
  std::int64_t parameters = 0;           ///< of the whole model
  std::int64_t language_parameters = 0;  ///< of the language model, the two tokens more included
  std::vector<AskedShots> asked = {};
};

/// Asks OpenFlamingo-3B's architecture (ViT-L/14, MPT-1B, a gated block before every layer) as its protocol
/// does: eight prompts at once, three beams, five new tokens.
DeviceAskingResult ask_by_shots(const DeviceScale& scale);

}  // namespace morphvlm::experiments
