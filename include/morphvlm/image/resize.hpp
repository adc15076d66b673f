// Antialiased bicubic resizing, equal to Pillow's to the last bit (Image.resize with BICUBIC): coefficients
// in fixed point, the rows first, the columns of the rounded result after. (Since version 13 Pillow takes the
// columns first where they shrink more than the rows; rounding then falls elsewhere. Published results are
// from before.) ATen's uint8 kernel is not the same: it differs by up to 2 of 255 in 0.1-0.4 % of the pixels
// of real photographs.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "morphvlm/image/pixels.hpp"

namespace morphvlm {

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

/// For one axis: which input pixels an output pixel reads, and with what weights.
struct ResizeAxis {
  struct Window {
    std::int64_t first, count;
  };
  std::vector<Window> windows;
  std::vector<std::int32_t> weights;  // `stride` for each output pixel
  std::int64_t stride = 0;
};

inline ResizeAxis resize_axis(std::int64_t in, std::int64_t out) {
  const double scale = static_cast<double>(in) / static_cast<double>(out);
  const double filter_scale = std::max(scale, 1.0);  // widened only when shrinking: that is the antialiasing
  const double support = 2.0 * filter_scale, inverse = 1.0 / filter_scale;
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
      sum += row[i] = bicubic((static_cast<double>(i + first) - center + 0.5) * inverse);
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

/// Resizes along rows: [height, in, 3] -> [height, out, 3].
inline void resize_rows(const ResizeAxis& axis, const std::uint8_t* in, std::int64_t height,
                        std::int64_t in_width, std::uint8_t* out) {
  for (std::int64_t y = 0; y < height; ++y, in += in_width * 3) {
    for (std::size_t x = 0; x < axis.windows.size(); ++x, out += 3) {
      const std::uint8_t* pixel = in + axis.windows[x].first * 3;
      const std::int32_t* weight = &axis.weights[x * axis.stride];
      std::int32_t sum[3] = {1 << (kResizeBits - 1), 1 << (kResizeBits - 1), 1 << (kResizeBits - 1)};
      for (std::int64_t i = 0; i < axis.windows[x].count; ++i, pixel += 3)
        for (int c = 0; c < 3; ++c) sum[c] += pixel[c] * weight[i];
      for (int c = 0; c < 3; ++c) out[c] = resize_round(sum[c]);
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

}  // namespace detail

/// `image` at another size. An axis that keeps its size is not touched.
inline Image resize_bicubic(const Image& image, std::int64_t height, std::int64_t width) {
  detail::expect_image(image, "resize_bicubic");
  Image out = image;
  if (width != image.width()) {
    out = make_image(image.height(), width, "resize_bicubic");
    detail::resize_rows(detail::resize_axis(image.width(), width), image.pixels.data_ptr<std::uint8_t>(),
                        image.height(), image.width(), out.pixels.data_ptr<std::uint8_t>());
  }
  if (height != image.height()) {
    const Image rows = out;
    out = make_image(height, width, "resize_bicubic");
    detail::resize_columns(detail::resize_axis(image.height(), height), rows.pixels.data_ptr<std::uint8_t>(),
                           width * 3, out.pixels.data_ptr<std::uint8_t>());
  }
  return out;
}

}  // namespace morphvlm
