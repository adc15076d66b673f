// Layer 4: packed formats of frozen weights.
#pragma once

#include "morphvlm/quant/quantized.hpp"
