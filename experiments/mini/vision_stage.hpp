// The settings of a small tower's training (vision_pretrain.hpp).
#pragma once

#include <cstdint>

#include "morphvlm/image/clip_preprocess.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/train/trainer.hpp"

namespace morphvlm::experiments {

/// Training of one part by the questions about its pictures.
struct ProbeStage {
  std::int64_t images = 32;  ///< pictures a step, with all their questions
  double open_weight = 3;    ///< of open questions in the loss: they are few and say most about a picture
  std::int64_t probe_width = 128;
  TrainConfig train = {};
};

/// The tower and how it is trained.
struct VisionStage {
  ClipVitConfig model = {};
  ClipPreprocess preprocess = {};
  std::int64_t shift = 4;  ///< largest random shift, pixels; mirrored at random as well
  ProbeStage tower = {};
  ProbeStage perceiver = {};  ///< the resampler's own start, on the finished tower's features
};

}  // namespace morphvlm::experiments
