// Layer 7: images, text, data sets, batches.
#pragma once

#include "morphvlm/data/bpe.hpp"
#include "morphvlm/data/bpe_gguf.hpp"
#include "morphvlm/data/bpe_json.hpp"
#include "morphvlm/data/clip_preprocess.hpp"
#include "morphvlm/data/collate.hpp"
#include "morphvlm/data/dataset.hpp"
#include "morphvlm/data/easy_vqa.hpp"
#include "morphvlm/data/feature_cache.hpp"
#include "morphvlm/data/image.hpp"
#include "morphvlm/data/prompt.hpp"
#include "morphvlm/data/text_entries.hpp"
#include "morphvlm/data/vqa_text.hpp"
