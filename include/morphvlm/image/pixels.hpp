// Pictures as tensors, and the limit that every decoder keeps.
#pragma once

#include <ATen/ops/empty.h>

#include <cstdint>
#include <string_view>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/tensor.hpp"

namespace morphvlm {

/// How a file stores its pixels, as far as resizing depends on it.
enum class PixelKind {
  color,    ///< gray or colour
  palette,  ///< numbers of a palette's colours, or single bits: Pillow resizes by the nearest, without
            ///< blending
  alpha     ///< each pixel with its opacity, by which Pillow weighs it
};

/// A picture: uint8 RGB, [height, width, 3], contiguous, on the CPU, and what its file says beside.
struct Image {
  Tensor pixels;                      ///< row by row from the top; colours as stored, whatever their opacity
  Tensor alpha = {};                  ///< opacity, uint8 [height, width]; undefined where the file has none
  PixelKind kind = PixelKind::color;  ///< how the file stores them

  /// Rows of pixels.
  std::int64_t height() const { return pixels.size(0); }
  /// Pixels of a row.
  std::int64_t width() const { return pixels.size(1); }
};

/// Most pixels that a file may claim: 256 MiB of RGB, where Pillow begins to warn of decompression bombs. A
/// file of a few hundred bytes can claim any size, so this is what bounds the memory.
inline constexpr std::int64_t kMaxImagePixels = 256 * 1024 * 1024 / 3;

namespace detail {

/// uint8 [height, width, channels], not set. `where` leads the message of an error.
inline Tensor make_pixels(std::int64_t height, std::int64_t width, std::int64_t channels,
                          std::string_view where) {
  expect(height > 0 && width > 0, where, ": an image of ", width, " x ", height, " pixels has no pixels");
  expect(height <= kMaxImagePixels / width, where, ": an image of ", width, " x ", height,
         " pixels is above the limit of ", kMaxImagePixels, " pixels");
  return at::empty({height, width, channels}, at::kByte);
}

}  // namespace detail

/// An image of that size, its pixels not set. `where` leads the message of an error.
inline Image make_image(std::int64_t height, std::int64_t width, std::string_view where) {
  return {detail::make_pixels(height, width, 3, where)};
}

namespace detail {

inline void expect_image(const Image& image, std::string_view where) {
  const Tensor &p = image.pixels, &a = image.alpha;
  expect(p.defined() && p.scalar_type() == at::kByte && p.dim() == 3 && p.size(2) == 3 && p.numel() > 0 &&
             p.is_contiguous() && p.is_cpu(),
         where, ": expected an image, uint8 [height, width, 3], contiguous, on the CPU; found ", describe(p));
  expect(a.defined() || image.kind != PixelKind::alpha, where, ": expected the picture's alpha, found none");
  expect(!a.defined() || (a.scalar_type() == at::kByte && a.sizes() == p.sizes().slice(0, 2) &&
                          a.is_contiguous() && a.is_cpu()),
         where, ": expected alpha, uint8 ", to_string(p.sizes().slice(0, 2)),
         ", contiguous, on the CPU; found ", describe(a));
}

}  // namespace detail

}  // namespace morphvlm
