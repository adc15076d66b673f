// Layer 16: what a step costs, found without memory.
#pragma once

#include "morphvlm/plan/fit.hpp"
#include "morphvlm/plan/meta_kernels.hpp"
#include "morphvlm/plan/plan.hpp"
