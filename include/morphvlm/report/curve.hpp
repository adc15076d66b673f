// Series of points and what is done to them before they are drawn.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <span>
#include <string>
#include <vector>

#include "morphvlm/core/error.hpp"

namespace morphvlm {

/// A curve. Points that are not finite are left out and break the line. `low` and `high`, both or neither,
/// give a band around it.
struct Series {
  std::string label = {};         ///< in the legend; empty: not there
  std::vector<double> x = {};     ///< places of the points
  std::vector<double> y = {};     ///< values, as many as x
  std::vector<double> low = {};   ///< lower edge of the band, as many as x, or none
  std::vector<double> high = {};  ///< upper edge of the band
  bool dashed = false;            ///< broken, as for what others published
  bool faint = false;             ///< pale, as for single steps behind their average
};

/// Mean of the `window` values around each, fewer near the ends; those that are not finite count for nothing.
/// Linear in the number of values.
inline std::vector<double> moving_average(std::span<const double> values, std::int64_t window) {
  expect(window > 0, "moving_average: expected a window of at least 1, found ", window);
  const std::int64_t n = std::ssize(values), before = (window - 1) / 2, after = window / 2;
  std::vector<double> sums(values.size() + 1), counts(values.size() + 1), out(values.size());
  for (std::size_t i = 0; i < values.size(); ++i) {
    const bool finite = std::isfinite(values[i]);
    sums[i + 1] = sums[i] + (finite ? values[i] : 0.0);
    counts[i + 1] = counts[i] + (finite ? 1.0 : 0.0);
  }
  for (std::int64_t i = 0; i < n; ++i) {
    const auto from = static_cast<std::size_t>(std::max<std::int64_t>(0, i - before));
    const auto to = static_cast<std::size_t>(std::min(n, i + after + 1));
    const double count = counts[to] - counts[from];
    out[static_cast<std::size_t>(i)] =
        count > 0 ? (sums[to] - sums[from]) / count : std::numeric_limits<double>::quiet_NaN();
  }
  return out;
}

/// Exponential moving average with decay `beta`, corrected for its start at zero as Adam's moments are; a
/// value that is not finite leaves a gap and does not count.
inline std::vector<double> exponential_average(std::span<const double> values, double beta) {
  expect(beta >= 0 && beta < 1, "exponential_average: expected 0 <= beta < 1, found ", beta);
  std::vector<double> out;
  double mean = 0, weight = 0;
  for (const double v : values) {
    if (std::isfinite(v)) {
      mean = beta * mean + (1 - beta) * v;
      weight = beta * weight + (1 - beta);
    }
    out.push_back(std::isfinite(v) ? mean / weight : std::numeric_limits<double>::quiet_NaN());
  }
  return out;
}

namespace detail {

inline void expect_regular(const Series& s) {
  const std::size_t n = s.x.size();
  const bool band = !s.low.empty() || !s.high.empty();
  expect(s.y.size() == n && (!band || (s.low.size() == n && s.high.size() == n)), "series \"", s.label,
         "\": ", n, " values of x but ", s.y.size(), " of y, ", s.low.size(), " of low and ", s.high.size(),
         " of high");
}

/// Indices of the points to draw: all of up to 4 * `limit`, else of each of `limit` stretches the first, the
/// last, the lowest and the highest, so that no spike is lost. A stretch with a point that is not finite
/// keeps one.
inline std::vector<std::size_t> thinned(std::span<const double> y, std::size_t limit) {
  std::vector<std::size_t> kept;
  const std::size_t stretch = y.size() <= 4 * limit ? 1 : (y.size() + limit - 1) / limit;
  for (std::size_t from = 0; from < y.size(); from += stretch) {
    const std::size_t to = std::min(y.size(), from + stretch);
    std::size_t lowest = to, highest = to, gap = to;
    for (std::size_t i = from; i < to; ++i) {
      if (!std::isfinite(y[i])) {
        gap = i;
        continue;
      }
      if (lowest == to || y[i] < y[lowest]) lowest = i;
      if (highest == to || y[i] > y[highest]) highest = i;
    }
    std::vector<std::size_t> some = {from, to - 1};
    for (const std::size_t i : {lowest, highest, gap}) {
      if (i < to) some.push_back(i);
    }
    std::ranges::sort(some);
    some.erase(std::unique(some.begin(), some.end()), some.end());  // clang 14 cannot use subranges
    kept.insert(kept.end(), some.begin(), some.end());
  }
  return kept;
}

}  // namespace detail

}  // namespace morphvlm
