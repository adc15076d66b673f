// CLIP's evaluation preprocessing: image -> the pixels that the vision tower takes. Equal to open_clip's
// transform over Pillow and torchvision for an RGB image.
#pragma once

#include <ATen/ops/div.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>

#include <cmath>
#include <cstdint>
#include <vector>

#include "morphvlm/image/resize.hpp"

namespace morphvlm {

/// What the pixels are brought to, a value for each channel; these are OpenAI's CLIP's.
struct ClipPreprocess {
  std::int64_t size = 224;   ///< of the square that the tower sees
  std::int64_t resize = 0;   ///< the short side before the square is cut out; 0: size (DINOv2: 256)
  bool whole_image = false;  ///< the whole picture becomes the square, distorted, instead (SigLIP)
  std::vector<double> mean = {0.48145466, 0.4578275, 0.40821073};  ///< R, G, B in [0, 1]; three values
  std::vector<double> std = {0.26862954, 0.26130258, 0.27577711};  ///< R, G, B in [0, 1]; three values
};

/// Resizes the short side to `resize` (0: to `size`) and cuts the centre out: uint8 [size, size, 3]. An image
/// whose resized long side is above the pixel limit is an error.
inline Image clip_crop(const Image& image, std::int64_t size, std::int64_t resize = 0) {
  detail::expect_image(image, "clip_crop");
  const std::int64_t side = resize == 0 ? size : resize;
  expect(size > 0 && side >= size, "clip_crop: cannot cut ", size, " pixels out of ", side);
  const std::int64_t h = image.height(), w = image.width();
  const Image resized =
      h < w ? resize_bicubic(image, side, side * w / h) : resize_bicubic(image, side * h / w, side);
  // torchvision rounds halves to even, which is how std::nearbyint rounds by default.
  const auto start = [size](std::int64_t length) {
    return static_cast<std::int64_t>(std::nearbyint(static_cast<double>(length - size) / 2.0));
  };
  const Tensor rows = resized.pixels.narrow(0, start(resized.height()), size);
  return {rows.narrow(1, start(resized.width()), size).contiguous()};
}

/// float32 [3, size, size]: the square made of the image, channels first, (pixel / 255 - mean) / std.
inline Tensor clip_pixels(const Image& image, const ClipPreprocess& config = {}) {
  const Image cut = config.whole_image ? resize_bicubic(image, config.size, config.size)
                                       : clip_crop(image, config.size, config.resize);
  const Tensor square = cut.pixels.permute({2, 0, 1}).contiguous();
  const auto channel = [](const std::vector<double>& v) {
    expect(v.size() == 3, "clip_pixels: mean and std need 3 values each, found ", v.size());
    return at::tensor(v, at::kFloat).view({3, 1, 1});
  };
  return square.to(at::kFloat).div(255).sub(channel(config.mean)).div(channel(config.std));
}

}  // namespace morphvlm
