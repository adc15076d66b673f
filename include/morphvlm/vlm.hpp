// Layer 8: the vision-language model and its decoding.
#pragma once

#include "morphvlm/vlm/beam_search.hpp"
#include "morphvlm/vlm/generate.hpp"
#include "morphvlm/vlm/generate_config.hpp"
#include "morphvlm/vlm/presets.hpp"
#include "morphvlm/vlm/quantized_model.hpp"
#include "morphvlm/vlm/run_recomputed.hpp"
#include "morphvlm/vlm/sample.hpp"
#include "morphvlm/vlm/shared_prefix.hpp"
#include "morphvlm/vlm/token_reader.hpp"
#include "morphvlm/vlm/trainable.hpp"
#include "morphvlm/vlm/vlm.hpp"
