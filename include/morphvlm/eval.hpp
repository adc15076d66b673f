// Layer 17: scores.
#pragma once

#include "morphvlm/eval/aokvqa_score.hpp"
#include "morphvlm/eval/contractions.hpp"
#include "morphvlm/eval/evaluate.hpp"
#include "morphvlm/eval/pubmedqa_score.hpp"
#include "morphvlm/eval/rank.hpp"
#include "morphvlm/eval/vl_stereoset_score.hpp"
#include "morphvlm/eval/vqa_score.hpp"
