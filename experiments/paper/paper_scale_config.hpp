// The paper scale of the experiments: real model folders and data sets, asked and trained by the programs
// `evaluate` and `train` as a user would (docs/tutorials/paper.md). Plain data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace morphvlm::experiments {

/// Where the files are, and how much of the work is done.
struct PaperScale {
  std::filesystem::path assets = {};    ///< model folders and data sets; empty: MORPHVLM_ASSETS
  std::filesystem::path programs = {};  ///< folder of `evaluate` and `train`; empty: beside this program
  std::filesystem::path out = "runs/paper";
  std::string device = "cuda";
  std::int64_t seeds = 1;            ///< fine-tunings in each setting
  std::int64_t questions = 4000;     ///< of VQAv2, as many as the authors' notebook asked; 0: all
  std::int64_t batch = 8;            ///< rows of a training batch
  std::int64_t blocks_steps = 4000;  ///< of resampler and gated blocks, where a model folder has none
  std::int64_t steps = 600;          ///< of a fine-tuning
  std::int64_t figure_steps = 60;    ///< of Figures 2 and 3, as published
  double lr = 1e-3;                  ///< the published peak
  double blocks_lr = 1e-4;           ///< OpenFlamingo's
};

}  // namespace morphvlm::experiments
