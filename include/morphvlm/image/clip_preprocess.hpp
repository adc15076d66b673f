// The evaluation preprocessing of open_clip and of transformers' CLIP, SigLIP and DINOv2: image -> the pixels
// that the vision tower takes. Equal to open_clip's transform over Pillow and torchvision, and to
// transformers' image processors over Pillow. (Their default resizes by torchvision, which differs from
// Pillow, and so from here, by at most 1 of 255 in 0.1-0.4 % of the pixels of photographs.)
#pragma once

#include <ATen/ops/div.h>
#include <ATen/ops/mul.h>
#include <ATen/ops/sub.h>
#include <ATen/ops/tensor.h>

#include <array>
#include <cmath>
#include <cstdint>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/image/resize.hpp"

namespace morphvlm {

/// Whose steps are followed where the libraries do not agree.
enum class PixelSteps {
  open_clip,    ///< resized as the file stores it, then RGB, opacity dropped; the centre rounds half to even
  transformers  ///< RGB first, laid on white by its opacity; the centre rounds down
};
/// Their names in configs.
template <>
inline constexpr std::array<std::pair<PixelSteps, std::string_view>, 2> enum_names<PixelSteps>{
    {{PixelSteps::open_clip, "open_clip"}, {PixelSteps::transformers, "transformers"}}};

namespace detail {
inline constexpr std::array<double, 3> kClipMean{0.48145466, 0.4578275, 0.40821073};
inline constexpr std::array<double, 3> kClipStd{0.26862954, 0.26130258, 0.27577711};
}  // namespace detail

/// What the pixels are brought to, a value for each channel; these are OpenAI's CLIP's.
struct ClipPreprocess {
  std::int64_t size = 224;   ///< of the square that the tower sees
  std::int64_t resize = 0;   ///< the short side before the square is cut out; 0: size (DINOv2: 256)
  bool whole_image = false;  ///< the whole picture becomes the square, distorted, instead (SigLIP)
  std::vector<double> mean{detail::kClipMean.begin(),
                           detail::kClipMean.end()};  ///< R, G, B in [0, 1]; three values
  std::vector<double> std{detail::kClipStd.begin(),
                          detail::kClipStd.end()};  ///< R, G, B in [0, 1]; three values
  PixelSteps steps = PixelSteps::open_clip;         ///< whose steps are followed
  ResizeFilter filter = ResizeFilter::bicubic;      ///< how pictures are resized
  double white = 255;       ///< the pixel that becomes 1 before mean and std: 1 / rescale_factor
  bool convert_rgb = true;  ///< false: pictures with a palette or an opacity are an error
};

namespace detail {

/// The picture on white, by its opacity.
inline Image on_white(const Image& image) {
  Image out{image.pixels};
  if (!image.alpha.defined()) return out;
  out.pixels = image.pixels.clone();
  auto* pixel = out.pixels.mutable_data_ptr<std::uint8_t>();
  const auto* alpha = image.alpha.const_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < image.alpha.numel(); ++i, pixel += 3) {
    for (int c = 0; c < 3; ++c) pixel[c] = divide_by_255(pixel[c] * alpha[i] + 255 * (255 - alpha[i]));
  }
  return out;
}

}  // namespace detail

/// The square that the tower sees, before its values are scaled: uint8 [size, size, 3]. An image whose
/// resized long side is above the pixel limit is an error.
inline Image clip_square(const Image& image, const ClipPreprocess& config) {
  detail::expect_image(image, "clip_square");
  const std::int64_t size = config.size, side = config.resize == 0 ? size : config.resize;
  expect(size > 0 && side >= size, "clip_square: cannot cut ", size, " pixels out of ", side);
  expect(config.convert_rgb || image.kind == PixelKind::color,
         "clip_square: the picture has a palette or an opacity, and do_convert_rgb is off");
  const bool down = config.steps == PixelSteps::transformers;
  const Image picture = !down ? image : config.convert_rgb ? detail::on_white(image) : Image{image.pixels};
  if (config.whole_image) return {resize_image(picture, size, size, config.filter).pixels};
  const std::int64_t h = image.height(), w = image.width();
  const Image resized = h < w ? resize_image(picture, side, side * w / h, config.filter)
                              : resize_image(picture, side * h / w, side, config.filter);
  // torchvision rounds halves to even, which is how std::nearbyint rounds by default.
  const auto start = [&](std::int64_t length) {
    const double half = static_cast<double>(length - size) / 2.0;
    return static_cast<std::int64_t>(down ? std::floor(half) : std::nearbyint(half));
  };
  const Tensor rows = resized.pixels.narrow(0, start(resized.height()), size);
  return {rows.narrow(1, start(resized.width()), size).contiguous()};
}

/// float32 [3, size, size]: the square made of the image, channels first, (pixel / white - mean) / std.
inline Tensor clip_pixels(const Image& image, const ClipPreprocess& config = {}) {
  const auto channel = [](const std::vector<double>& v) {
    expect(v.size() == 3, "clip_pixels: mean and std need 3 values each, found ", v.size());
    return at::tensor(v, at::kFloat).view({3, 1, 1});
  };
  const Tensor mean = channel(config.mean), std = channel(config.std);
  const Tensor square = clip_square(image, config).pixels.permute({2, 0, 1}).contiguous().to(at::kFloat);
  // transformers brings mean and deviation to the pixels' scale: the same but for the last bit.
  if (config.steps == PixelSteps::transformers)
    return square.sub(mean.mul(config.white)).div(std.mul(config.white));
  return square.div(config.white).sub(mean).div(std);
}

}  // namespace morphvlm
