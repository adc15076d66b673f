// EfficientNet-Lite0 (Tan and Le 2019; the Lite variants have ReLU6 and no squeeze-and-excitation) as a
// vision tower. Field names are those of the PyTorch port's checkpoint without its leading underscores
// (io/keys_vision.hpp).
#pragma once

#include <ATen/ops/constant_pad_nd.h>
#include <ATen/ops/conv2d.h>
#include <ATen/ops/empty.h>
#include <ATen/ops/hardtanh.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/core/init.hpp"
#include "morphvlm/model/pixel_input.hpp"
#include "morphvlm/nn/batch_norm.hpp"

namespace morphvlm {

/// The network's sizes are its name; only the picture's may vary.
struct EfficientNetConfig {
  std::int64_t image_size = 224;  ///< side of the square picture, in pixels
};

/// A convolution without bias whose output is its input's size divided by the stride, rounded up:
/// TensorFlow's "SAME", which pads the right and the bottom by one more where the padding is odd.
struct SameConv {
  Tensor weight = {};       ///< [out, in / groups, k, k]
  std::int64_t stride = 1;  ///< pixels from one place to the next
  std::int64_t groups = 1;  ///< into which channels are split; as many as channels: each for itself

  /// [n, in, height, width] -> [n, out, ceil(height / stride), ceil(width / stride)]
  Tensor operator()(const Tensor& x) const {
    const auto needed = [&](std::int64_t size) {
      const auto out = (size + stride - 1) / stride;
      return std::max<std::int64_t>(0, (out - 1) * stride + weight.size(-1) - size);
    };
    const auto high = needed(x.size(-2)), wide = needed(x.size(-1));
    const Tensor padded = at::constant_pad_nd(x, {wide / 2, wide - wide / 2, high / 2, high - high / 2});
    return at::conv2d(padded, weight.to(x.scalar_type()), {}, stride, at::IntArrayRef(0), at::IntArrayRef(1),
                      groups);
  }

  /// He's normal initialisation by the outputs' fan (the reference's).
  static SameConv init(std::int64_t in, std::int64_t out, std::int64_t kernel, std::int64_t stride,
                       std::int64_t groups, const Init& init) {
    const auto fan_out = kernel * kernel * out / groups;
    const double std = std::sqrt(2.0 / static_cast<double>(fan_out));
    return {
        .weight = at::empty({out, in / groups, kernel, kernel}, init.options).normal_(0, std, init.generator),
        .stride = stride,
        .groups = groups};
  }
};

namespace detail {

inline constexpr double kEfficientNetEps = 1e-3;

inline Tensor relu6(const Tensor& x) { return at::hardtanh(x, 0, 6); }

/// Blocks of a kind that follow each other; the first has the stride.
struct EfficientNetStage {
  std::int64_t repeats, kernel, stride, expand, out;
};
inline constexpr std::array<EfficientNetStage, 7> kEfficientNetStages{{{1, 3, 1, 1, 16},
                                                                       {2, 3, 2, 6, 24},
                                                                       {2, 5, 2, 6, 40},
                                                                       {3, 3, 2, 6, 80},
                                                                       {3, 5, 1, 6, 112},
                                                                       {4, 5, 2, 6, 192},
                                                                       {1, 3, 1, 6, 320}}};
inline constexpr std::int64_t kEfficientNetStem = 32, kEfficientNetFeatures = 1280;

}  // namespace detail

/// Reference: `MBConvBlock`: expand, filter each channel, project; plus the input where shapes allow.
struct InvertedResidual {
  SameConv expand_conv = {};     ///< without weight where nothing is expanded, as is bn0
  BatchNorm bn0 = {};            ///< after the convolution before it
  SameConv depthwise_conv = {};  ///< each channel for itself
  BatchNorm bn1 = {};            ///< after the convolution before it
  SameConv project_conv = {};    ///< to the block's output, 1 x 1
  BatchNorm bn2 = {};            ///< after the convolution before it

  /// [n, in, height, width] -> [n, out, ceil(height / stride), ceil(width / stride)]
  Tensor operator()(const Tensor& x) const {
    const Tensor wide = expand_conv.weight.defined() ? detail::relu6(bn0(expand_conv(x))) : x;
    const Tensor y = bn2(project_conv(detail::relu6(bn1(depthwise_conv(wide)))));
    return y.sizes() == x.sizes() ? y.add(x) : y;
  }

  /// Random parameters.
  static InvertedResidual init(std::int64_t in, const detail::EfficientNetStage& s, std::int64_t stride,
                               const Init& init) {
    const auto inner = in * s.expand;
    const auto norm = [&](std::int64_t channels) {
      return BatchNorm::init(channels, init, detail::kEfficientNetEps);
    };
    return {.expand_conv = s.expand > 1 ? SameConv::init(in, inner, 1, 1, 1, init) : SameConv{},
            .bn0 = s.expand > 1 ? norm(inner) : BatchNorm{},
            .depthwise_conv = SameConv::init(inner, inner, s.kernel, stride, inner, init),
            .bn1 = norm(inner),
            .project_conv = SameConv::init(inner, s.out, 1, 1, 1, init),
            .bn2 = norm(s.out)};
  }
};

/// The network without its classifier. Reference: `EfficientNet.extract_features`.
struct EfficientNetModule {
  SameConv conv_stem = {};                    ///< 3 x 3, two pixels a step
  BatchNorm bn0 = {};                         ///< after the convolution before it
  std::vector<InvertedResidual> blocks = {};  ///< of all stages, in order
  SameConv conv_head = {};                    ///< to 1280 channels, 1 x 1
  BatchNorm bn1 = {};                         ///< after the convolution before it

  /// pixels [n, 3, height, width] -> [n, tokens, 1280], one token for each 32 x 32 pixels: 49 at 224.
  Tensor operator()(const Tensor& pixels) const {
    detail::expect_scaled_pixels(pixels, "EfficientNet");
    expect(pixels.dim() == 4 && pixels.size(1) == 3,
           "EfficientNet: expected pixels [n, 3, height, width], found ", to_string(pixels.sizes()));
    Tensor x = detail::relu6(bn0(conv_stem(pixels)));
    for (const auto& block : blocks) x = block(x);
    return detail::relu6(bn1(conv_head(x))).flatten(2).transpose(1, 2);
  }

  /// Random parameters.
  static EfficientNetModule init(const EfficientNetConfig&, const Init& init) {
    const auto norm = [&](std::int64_t channels) {
      return BatchNorm::init(channels, init, detail::kEfficientNetEps);
    };
    auto channels = detail::kEfficientNetStem;
    EfficientNetModule m{.conv_stem = SameConv::init(3, channels, 3, 2, 1, init), .bn0 = norm(channels)};
    for (const auto& stage : detail::kEfficientNetStages) {
      for (std::int64_t i = 0; i < stage.repeats; ++i) {
        m.blocks.push_back(InvertedResidual::init(channels, stage, i == 0 ? stage.stride : 1, init));
        channels = stage.out;
      }
    }
    m.conv_head = SameConv::init(channels, detail::kEfficientNetFeatures, 1, 1, 1, init);
    m.bn1 = norm(detail::kEfficientNetFeatures);
    return m;
  }
};

/// EfficientNet-Lite0 as a vision tower.
struct EfficientNetLite0 {
  /// The sizes.
  using Config = EfficientNetConfig;
  /// The parameters.
  using Module = EfficientNetModule;
  /// Width of a vision token.
  static std::int64_t feature_dim(const Config&) { return detail::kEfficientNetFeatures; }
};

}  // namespace morphvlm
