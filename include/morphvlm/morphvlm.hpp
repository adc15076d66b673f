// MorphVLM: a vision-language model as a type. Includes every layer.
#pragma once

#include "morphvlm/adapt.hpp"
#include "morphvlm/core.hpp"
#include "morphvlm/data.hpp"
#include "morphvlm/eval.hpp"
#include "morphvlm/io.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/nn.hpp"
#include "morphvlm/report.hpp"
#include "morphvlm/train.hpp"
#include "morphvlm/vlm.hpp"
