// Layer 14: optimisation.
#pragma once

#include "morphvlm/train/cross_entropy.hpp"
#include "morphvlm/train/dead.hpp"
#include "morphvlm/train/gradient_sums.hpp"
#include "morphvlm/train/loss.hpp"
#include "morphvlm/train/optim.hpp"
#include "morphvlm/train/recorded_loss.hpp"
#include "morphvlm/train/run_state.hpp"
#include "morphvlm/train/schedule.hpp"
#include "morphvlm/train/share_state.hpp"
#include "morphvlm/train/train_config.hpp"
#include "morphvlm/train/train_files.hpp"
#include "morphvlm/train/trainer.hpp"
