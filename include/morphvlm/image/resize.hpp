// Antialiased resizing, equal to Pillow's Image.resize to the last bit in every mode: coefficients in fixed
// point, the rows first, the columns of the rounded result after. (Since version 13 Pillow takes the
// columns first where they shrink more than the rows; rounding then falls elsewhere. Published results are
// from before.) ATen's uint8 kernel is not the same: it differs by up to 2 of 255 in 0.1-0.4 % of the pixels
// of real photographs.
#pragma once

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <utility>
#include <vector>

#include "morphvlm/core/enum_names.hpp"
#include "morphvlm/image/pixels.hpp"

namespace morphvlm {

/// By what curve the pixels around a place are weighed.
enum class ResizeFilter {
  bicubic,  ///< cubic with a = -0.5, over two pixels to each side
  bilinear  ///< a triangle, over one pixel to each side
};
/// Their names in configs.
template <>
inline constexpr std::array<std::pair<ResizeFilter, std::string_view>, 2> enum_names<ResizeFilter>{
    {{ResizeFilter::bicubic, "bicubic"}, {ResizeFilter::bilinear, "bilinear"}}};

namespace detail {

/// Fraction bits of a coefficient: 32, less 8 for the pixel and 2 for sums that overshoot.
inline constexpr int kResizeBits = 22;

/// The cubic kernel with a = -0.5, support 2.
inline double bicubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
  if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
  return 0.0;
}

inline double filter_support(ResizeFilter filter) { return filter == ResizeFilter::bicubic ? 2.0 : 1.0; }

inline double filter_weight(ResizeFilter filter, double x) {
  return filter == ResizeFilter::bicubic ? bicubic(x) : std::max(1.0 - std::abs(x), 0.0);
}

/// For one axis: which input pixels an output pixel reads, and with what weights.
struct ResizeAxis {
  struct Window {
    std::int64_t first, count;
  };
  std::vector<Window> windows;
  std::vector<std::int32_t> weights;  // `stride` for each output pixel
  std::int64_t stride = 0;
};

inline ResizeAxis resize_axis(std::int64_t in, std::int64_t out, ResizeFilter filter) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double filter_scale = std::max(scale, 1.0);  // widened only when shrinking: that is the antialiasing
  const double support = filter_support(filter) * filter_scale, inverse = 1.0 / filter_scale;
  ResizeAxis axis;
  axis.stride = static_cast<std::int64_t>(std::ceil(support)) * 2 + 1;
  axis.weights.resize(static_cast<std::size_t>(out * axis.stride));
  std::vector<double> row(static_cast<std::size_t>(axis.stride));
  for (std::int64_t x = 0; x < out; ++x) {
    const double center = (static_cast<double>(x) + 0.5) * scale;
    // Pillow rounds so. NOLINTBEGIN(bugprone-incorrect-roundings)
    const auto first = std::max<std::int64_t>(static_cast<std::int64_t>(center - support + 0.5), 0);
    const auto end = std::min(static_cast<std::int64_t>(center + support + 0.5), in);
    // NOLINTEND(bugprone-incorrect-roundings)
    axis.windows.push_back({first, end - first});
    double sum = 0.0;
    for (std::int64_t i = 0; i < end - first; ++i)
      sum += row[i] = filter_weight(filter, (static_cast<double>(i + first) - center + 0.5) * inverse);
    for (std::int64_t i = 0; i < end - first; ++i) {
      const double weight = (sum != 0.0 ? row[i] / sum : row[i]) * (1 << kResizeBits);
      axis.weights[x * axis.stride + i] = static_cast<std::int32_t>(weight < 0 ? weight - 0.5 : weight + 0.5);
    }
  }
  return axis;
}

inline std::uint8_t resize_round(std::int32_t sum) {
  return static_cast<std::uint8_t>(std::clamp(sum >> kResizeBits, 0, 255));
}

/// Resizes along rows: [height, in, channels] -> [height, out, channels].
template <int channels>
void resize_rows(const ResizeAxis& axis, const std::uint8_t* in, std::int64_t height, std::int64_t in_width,
                 std::uint8_t* out) {
  for (std::int64_t y = 0; y < height; ++y, in += in_width * channels) {
    for (std::size_t x = 0; x < axis.windows.size(); ++x, out += channels) {
      const std::uint8_t* pixel = in + axis.windows[x].first * channels;
      const std::int32_t* weight = &axis.weights[x * axis.stride];
      std::int32_t sum[channels];
      for (auto& s : sum) s = 1 << (kResizeBits - 1);
      for (std::int64_t i = 0; i < axis.windows[x].count; ++i, pixel += channels)
        for (int c = 0; c < channels; ++c) sum[c] += pixel[c] * weight[i];
      for (int c = 0; c < channels; ++c) out[c] = resize_round(sum[c]);
    }
  }
}

/// Resizes along columns: [in, row bytes] -> [out, row bytes].
inline void resize_columns(const ResizeAxis& axis, const std::uint8_t* in, std::int64_t row_bytes,
                           std::uint8_t* out) {
  std::vector<std::int32_t> sums(static_cast<std::size_t>(row_bytes));
  for (std::size_t y = 0; y < axis.windows.size(); ++y, out += row_bytes) {
    std::fill(sums.begin(), sums.end(), 1 << (kResizeBits - 1));
    for (std::int64_t i = 0; i < axis.windows[y].count; ++i) {
      const std::uint8_t* row = in + (axis.windows[y].first + i) * row_bytes;
      const std::int32_t weight = axis.weights[y * axis.stride + i];
      for (std::int64_t x = 0; x < row_bytes; ++x) sums[x] += row[x] * weight;
    }
    std::transform(sums.begin(), sums.end(), out, resize_round);
  }
}

/// uint8 [height, width, channels] at another size. An axis that keeps its size is not touched.
template <int channels>
Tensor resize_blended(const Tensor& pixels, std::int64_t height, std::int64_t width, ResizeFilter filter) {
  Tensor out = pixels;
  if (width != pixels.size(1)) {
    out = make_pixels(pixels.size(0), width, channels, "resize_image");
    resize_rows<channels>(resize_axis(pixels.size(1), width, filter), pixels.const_data_ptr<std::uint8_t>(),
                          pixels.size(0), pixels.size(1), out.mutable_data_ptr<std::uint8_t>());
  }
  if (height != pixels.size(0)) {
    const Tensor rows = out;
    out = make_pixels(height, width, channels, "resize_image");
    resize_columns(resize_axis(pixels.size(0), height, filter), rows.const_data_ptr<std::uint8_t>(),
                   width * channels, out.mutable_data_ptr<std::uint8_t>());
  }
  return out;
}

/// For each of `out` places the nearest of `in`. Pillow sums the steps up, and so their rounding.
inline std::vector<std::int64_t> nearest_places(std::int64_t in, std::int64_t out) {
  const double step = static_cast<double>(in) / static_cast<double>(out);
  std::vector<std::int64_t> places;
  for (double at = step * 0.5; std::ssize(places) < out; at += step)
    places.push_back(std::min(static_cast<std::int64_t>(at), in - 1));
  return places;
}

/// uint8 [height, width, channels] at another size, every pixel one of those before.
inline Tensor resize_nearest(const Tensor& pixels, std::int64_t height, std::int64_t width) {
  const std::int64_t channels = pixels.size(2);
  Tensor out = make_pixels(height, width, channels, "resize_image");
  const auto rows = nearest_places(pixels.size(0), height), columns = nearest_places(pixels.size(1), width);
  auto* to = out.mutable_data_ptr<std::uint8_t>();
  for (const std::int64_t y : rows) {
    const auto* row = pixels.const_data_ptr<std::uint8_t>() + y * pixels.size(1) * channels;
    for (const std::int64_t x : columns) {
      std::memcpy(to, row + x * channels, static_cast<std::size_t>(channels));
      to += channels;
    }
  }
  return out;
}

/// Of a product of two bytes: divided by 255, rounded.
inline std::uint8_t divide_by_255(int product) {
  const int t = product + 128;
  return static_cast<std::uint8_t>(((t >> 8) + t) >> 8);
}

// Pillow resizes such pictures with the colours weighed by their opacity, and divides it out again.
inline Image resize_with_alpha(const Image& image, std::int64_t height, std::int64_t width,
                               ResizeFilter filter) {
  Tensor weighed = make_pixels(image.height(), image.width(), 4, "resize_image");
  const auto* color = image.pixels.const_data_ptr<std::uint8_t>();
  const auto* alpha = image.alpha.const_data_ptr<std::uint8_t>();
  auto* out = weighed.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < image.alpha.numel(); ++i) {
    for (int c = 0; c < 3; ++c) out[4 * i + c] = divide_by_255(color[3 * i + c] * alpha[i]);
    out[4 * i + 3] = alpha[i];
  }
  const Tensor resized = resize_blended<4>(weighed, height, width, filter);
  Image result = make_image(height, width, "resize_image");
  result.alpha = resized.select(2, 3).contiguous();
  result.kind = PixelKind::alpha;
  const auto* in = resized.const_data_ptr<std::uint8_t>();
  auto* divided = result.pixels.mutable_data_ptr<std::uint8_t>();
  for (std::int64_t i = 0; i < height * width; ++i) {
    const int weight = in[4 * i + 3];
    for (int c = 0; c < 3; ++c) {
      const int v = in[4 * i + c];
      divided[3 * i + c] = static_cast<std::uint8_t>(weight == 0 ? v : std::min(255 * v / weight, 255));
    }
  }
  return result;
}

}  // namespace detail

/// `image` at another size, as Pillow resizes its kind: palettes by the nearest, pixels with an opacity
/// weighed by it. A colour that is marked as transparent is so no longer.
inline Image resize_image(const Image& image, std::int64_t height, std::int64_t width,
                          ResizeFilter filter = ResizeFilter::bicubic) {
  detail::expect_image(image, "resize_image");
  if (height == image.height() && width == image.width()) return image;
  if (image.kind == PixelKind::alpha) return detail::resize_with_alpha(image, height, width, filter);
  if (image.kind == PixelKind::color) return {detail::resize_blended<3>(image.pixels, height, width, filter)};
  Image out{detail::resize_nearest(image.pixels, height, width), {}, image.kind};
  if (image.alpha.defined())
    out.alpha = detail::resize_nearest(image.alpha.unsqueeze(2), height, width).squeeze(2);
  return out;
}

}  // namespace morphvlm
