// Layer 7: towers, resamplers and language models.
#pragma once

#include "morphvlm/model/bio_gpt.hpp"
#include "morphvlm/model/clip_vit.hpp"
#include "morphvlm/model/efficient_net.hpp"
#include "morphvlm/model/gated_cross_attention.hpp"
#include "morphvlm/model/gpt_neox.hpp"
#include "morphvlm/model/llama_decode.hpp"
#include "morphvlm/model/mpt.hpp"
#include "morphvlm/model/open_llama.hpp"
#include "morphvlm/model/perceiver.hpp"
#include "morphvlm/model/pixel_input.hpp"
#include "morphvlm/model/presets.hpp"
#include "morphvlm/model/roles.hpp"
#include "morphvlm/model/vocabulary.hpp"
