// Layer 3: the building blocks of models.
#pragma once

#include "morphvlm/nn/activation.hpp"
#include "morphvlm/nn/alibi.hpp"
#include "morphvlm/nn/attention.hpp"
#include "morphvlm/nn/batch_norm.hpp"
#include "morphvlm/nn/causal_mask.hpp"
#include "morphvlm/nn/embedding.hpp"
#include "morphvlm/nn/feed_forward.hpp"
#include "morphvlm/nn/few_rows_product.hpp"
#include "morphvlm/nn/kv_cache.hpp"
#include "morphvlm/nn/linear.hpp"
#include "morphvlm/nn/masked_cross_attention.hpp"
#include "morphvlm/nn/nf4_product.hpp"
#include "morphvlm/nn/norm.hpp"
#include "morphvlm/nn/quantized_linear.hpp"
#include "morphvlm/nn/rope.hpp"
#include "morphvlm/nn/self_attention.hpp"
