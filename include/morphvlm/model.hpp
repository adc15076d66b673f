// Layer 4: towers, resamplers and language models.
#pragma once

#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/model/presets.hpp"
#include "morphvlm/model/roles.hpp"
#include "morphvlm/model/vocabulary.hpp"
