// What every tower asks of the pixels that it is given.
#pragma once

#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm::detail {

// Bytes would be taken for pixels 255 times too large, and the weights be cut to bytes with them.
inline void expect_scaled_pixels(const Tensor& pixels, std::string_view who) {
  expect(pixels.defined() && pixels.is_floating_point(), who,
         ": expected pixels of a floating-point type, scaled and normalised (clip_pixels), found ",
         describe(pixels));
}

}  // namespace morphvlm::detail
