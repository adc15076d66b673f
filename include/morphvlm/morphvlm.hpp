// MorphVLM: a vision-language model as a type. Includes every layer.
//
// Doxygen lists the functions of a namespace that is documented, and those alone.
/// \namespace morphvlm
/// All of the toolkit. What stands in `detail` is its own and may change.
/// \namespace morphvlm::presets
/// Configs of published models, by their names.
#pragma once

#include "morphvlm/adapt.hpp"
#include "morphvlm/core.hpp"
#include "morphvlm/data.hpp"
#include "morphvlm/distributed.hpp"
#include "morphvlm/eval.hpp"
#include "morphvlm/formats.hpp"
#include "morphvlm/image.hpp"
#include "morphvlm/io.hpp"
#include "morphvlm/kernels.hpp"
#include "morphvlm/model.hpp"
#include "morphvlm/nn.hpp"
#include "morphvlm/offload.hpp"
#include "morphvlm/plan.hpp"
#include "morphvlm/quant.hpp"
#include "morphvlm/report.hpp"
#include "morphvlm/text.hpp"
#include "morphvlm/train.hpp"
#include "morphvlm/vlm.hpp"
