// Axes of plots: which values they show, where those stand, how they are written.
#pragma once

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdint>
#include <string>
#include <vector>

#include "morphvlm/core/format.hpp"

namespace morphvlm {

/// A mark of an axis.
struct Tick {
  double value = 0;       ///< where it stands
  std::string text = {};  ///< what stands beside it
};

/// A linear or logarithmic axis from `low` to `high`; on a logarithmic one both are positive.
struct Axis {
  double low = 0;                ///< the value at its beginning
  double high = 1;               ///< the value at its end
  bool log = false;              ///< logarithmic
  std::vector<Tick> ticks = {};  ///< by value

  /// Place of a value: 0 at `low`, 1 at `high`.
  double place(double value) const {
    if (log) return std::log(value / low) / std::log(high / low);
    return (value - low) / (high - low);
  }
  /// Whether a value can be drawn at all.
  bool shows(double value) const { return std::isfinite(value) && (!log || value > 0); }
};

namespace detail {

// Short and exact enough for a tick: "0.25", "1,500", "2e-05".
inline std::string tick_text(double value, int digits) {
  const double size = std::abs(value);
  if (size != 0 && (size < 1e-4 || size >= 1e7)) {
    std::array<char, 64> text{};
    const auto end =
        std::to_chars(text.data(), text.data() + text.size(), value, std::chars_format::scientific, 2);
    std::string out(text.data(), end.ptr);
    const auto e = out.find('e');
    const auto last = out.find_last_not_of('0', e - 1);
    return out.substr(0, out[last] == '.' ? last : last + 1) + out.substr(e);
  }
  if (digits == 0) return with_commas(static_cast<std::int64_t>(std::llround(value)));
  return fixed(value, digits);
}

// The decimals that `step` needs: 0.25 needs two.
inline int decimals_of(double step) {
  int digits = 0;
  for (double s = step; digits < 12 && std::abs(s - std::round(s)) > 1e-6 * s; s *= 10) ++digits;
  return digits;
}

// Smallest of 1, 2, 2.5, 5 times a power of ten that is at least `rough`.
inline double nice_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 2.5, 5.0}) {
    if (factor * power >= rough * (1 - 1e-9)) return factor * power;
  }
  return 10 * power;
}

// A range of one value is widened so that there is something to divide by.
inline void widen(double& low, double& high) {
  const double size = std::max(std::abs(low), std::abs(high));
  if (high - low > size * 1e-9) return;
  const double extra = size > 0 ? size * 0.1 : 1.0;
  low -= extra;
  high += extra;
}

}  // namespace detail

/// An axis for finite values from `low` to `high` with about `count` ticks at round values. With `snap` its
/// ends are ticks.
inline Axis linear_axis(double low, double high, int count, bool snap) {
  detail::widen(low, high);
  const double step = detail::nice_step((high - low) / std::max(1, count));
  const int digits = detail::decimals_of(step);
  if (snap) {
    low = std::floor(low / step + 1e-9) * step;
    high = std::ceil(high / step - 1e-9) * step;
  }
  Axis axis{.low = low, .high = high};
  for (auto i = std::ceil(low / step - 1e-9); i * step <= high + step * 1e-9; ++i) {
    axis.ticks.push_back({i * step, detail::tick_text(i == 0 ? 0.0 : i * step, digits)});
  }
  return axis;
}

/// An axis for positive values whose ends are 1, 2 or 5 times a power of ten; ticks at powers of ten, and at
/// 2 and 5 times those where that leaves room.
inline Axis logarithmic_axis(double low, double high) {
  const auto first = static_cast<int>(std::floor(std::log10(low))),
             last = static_cast<int>(std::ceil(std::log10(high)));
  std::vector<double> marks;
  for (int power = first - 1; power <= last + 1; ++power) {
    for (const double factor : {1.0, 2.0, 5.0}) marks.push_back(factor * std::pow(10.0, power));
  }
  // The last mark below all values and the first one above; at least two of them, as a scale needs.
  const auto above = std::ranges::find_if(marks, [&](double m) { return m >= high * (1 - 1e-9); });
  auto from = std::ranges::upper_bound(marks, low * (1 + 1e-9)) - 1;
  if (from == above) --from;
  Axis axis{.low = *from, .high = *above, .log = true};
  const int stride = std::max(1, (last - first) / 8);
  for (auto mark = from; mark <= above; ++mark) {
    const auto index = mark - marks.begin();
    const auto power = static_cast<int>(index / 3) + first - 1;
    const bool wanted = last - first <= 2 || (index % 3 == 0 && power % stride == 0);
    if (wanted) axis.ticks.push_back({*mark, detail::tick_text(*mark, detail::decimals_of(*mark))});
  }
  return axis;
}

}  // namespace morphvlm
