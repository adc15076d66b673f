// Layer 2: adapter sites, policies and the adapters themselves.
#pragma once

#include "morphvlm/adapt/look_ahead.hpp"
#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/nf4_cuda.hpp"
#include "morphvlm/adapt/nf4_levels.hpp"
#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/adapt/quantized.hpp"
#include "morphvlm/adapt/shards.hpp"
#include "morphvlm/adapt/site.hpp"
#include "morphvlm/adapt/streamed.hpp"
#include "morphvlm/adapt/unpack_kernels.hpp"
#include "morphvlm/adapt/weight_stream.hpp"
