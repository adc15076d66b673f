// Layer 3: adapter sites, policies and the adapters themselves.
#pragma once

#include "morphvlm/adapt/low_rank.hpp"
#include "morphvlm/adapt/merge.hpp"
#include "morphvlm/adapt/policy.hpp"
#include "morphvlm/adapt/site.hpp"
