// Pictures as tensors, and the limit that every decoder keeps.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// A picture: uint8 RGB, [height, width, 3], contiguous, on the CPU.
struct Image {
  Tensor pixels;  ///< row by row from the top

  /// Rows of pixels.
  std::int64_t height() const { return pixels.size(0); }
  /// Pixels of a row.
  std::int64_t width() const { return pixels.size(1); }
};

/// Most pixels that a file may claim: 256 MiB of RGB, where Pillow begins to warn of decompression bombs. A
/// file of a few hundred bytes can claim any size, so this is what bounds the memory.
inline constexpr std::int64_t kMaxImagePixels = 256 * 1024 * 1024 / 3;

/// An image of that size, its pixels not set. `where` leads the message of an error.
inline Image make_image(std::int64_t height, std::int64_t width, std::string_view where) {
  expect(height > 0 && width > 0, where, ": an image of ", width, " x ", height, " pixels has no pixels");
  expect(height <= kMaxImagePixels / width, where, ": an image of ", width, " x ", height,
         " pixels is above the limit of ", kMaxImagePixels, " pixels");
  return {at::empty({height, width, 3}, at::kByte)};
}

namespace detail {

inline void expect_image(const Image& image, std::string_view where) {
  const Tensor& p = image.pixels;
  expect(p.defined() && p.scalar_type() == at::kByte && p.dim() == 3 && p.size(2) == 3 && p.numel() > 0 &&
             p.is_contiguous() && p.is_cpu(),
         where, ": expected an image, uint8 [height, width, 3], contiguous, on the CPU; found ", describe(p));
}

}  // namespace detail

}  // namespace morphvlm
