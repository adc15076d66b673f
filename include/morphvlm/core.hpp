// Layer 1: errors, tensors, reflection, modules as aggregates, configs.
#pragma once

#include "morphvlm/core/autograd.hpp"
#include "morphvlm/core/config.hpp"
#include "morphvlm/core/error.hpp"
#include "morphvlm/core/format.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/core/json.hpp"
#include "morphvlm/core/json_lines.hpp"
#include "morphvlm/core/json_rows.hpp"
#include "morphvlm/core/mersenne_twister.hpp"
#include "morphvlm/core/module.hpp"
#include "morphvlm/core/progress.hpp"
#include "morphvlm/core/reflect.hpp"
#include "morphvlm/core/rng.hpp"
#include "morphvlm/core/state_dict.hpp"
#include "morphvlm/core/tensor.hpp"
#include "morphvlm/core/text_file.hpp"
