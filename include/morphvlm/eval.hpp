// Layer 9: scores.
#pragma once

#include "morphvlm/eval/evaluate.hpp"
#include "morphvlm/eval/vqa_score.hpp"
