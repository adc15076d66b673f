// Layer 3: adapter sites, policies and the adapters themselves.
#pragma once

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/pissa.hpp"
#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/adapt/site.hpp"
#include "morphvlm/adapt/start_adapters.hpp"
#include "morphvlm/adapt/weight_decomposed.hpp"
