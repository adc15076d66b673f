// The spelling of the tokens that OpenFlamingo adds to a vocabulary.
#pragma once

#include <string_view>

namespace morphvlm {

inline constexpr std::string_view kImageToken = "<image>",  ///< OpenFlamingo's spelling of an image in a text
    kEndOfChunk = "<|endofchunk|>";  ///< and of the end of the text that belongs to one

}  // namespace morphvlm
