// Bar charts with whiskers as SVG, for accuracies side by side.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/error.hpp"
#include "morphvlm/report/axis.hpp"
#include "morphvlm/report/svg.hpp"

namespace morphvlm {

/// Bars of one colour, one for each group; a value that is not finite has no bar. `low` and `high`, both or
/// neither, are the ends of the whiskers.
struct BarSeries {
  std::string label = {};           ///< in the legend
  std::vector<double> values = {};  ///< one for each group
  std::vector<double> low = {};     ///< lower ends of the whiskers, as many as values, or none
  std::vector<double> high = {};    ///< upper ends of the whiskers
};

/// Groups of bars that stand on zero.
struct BarPlot {
  std::string title = {};                ///< above the plot
  std::string y_label = {};              ///< beside the axis, with its unit
  std::vector<std::string> groups = {};  ///< names below the groups
  std::vector<BarSeries> series = {};    ///< in the order of the legend
  int digits = 1;                        ///< decimals of the numbers above the bars
  double width = 440;                    ///< in pixels; the picture scales
  double height = 290;                   ///< in pixels
};

namespace detail {

inline void expect_regular(const BarPlot& plot) {
  const std::size_t n = plot.groups.size();
  expect(n > 0 && !plot.series.empty(), "bar plot \"", plot.title, "\": expected groups and series, found ",
         n, " and ", plot.series.size());
  for (const BarSeries& s : plot.series) {
    const bool whiskers = !s.low.empty() || !s.high.empty();
    expect(s.values.size() == n && (!whiskers || (s.low.size() == n && s.high.size() == n)), "bar plot \"",
           plot.title, "\": series \"", s.label, "\" has ", s.values.size(), " values, ", s.low.size(),
           " low and ", s.high.size(), " high ends for ", n, " groups");
  }
}

inline Axis bar_axis(const BarPlot& plot) {
  double low = 0, high = 0;
  const auto add = [&](double v) {
    if (std::isfinite(v)) low = std::min(low, v), high = std::max(high, v);
  };
  for (const BarSeries& s : plot.series) {
    std::ranges::for_each(s.values, add);
    std::ranges::for_each(s.low, add);
    std::ranges::for_each(s.high, add);
  }
  return low == high ? linear_axis(0, 1, 5, true) : linear_axis(low, high, 5, true);
}

/// Words of `text` in lines of at most `most` characters where words allow it.
inline std::vector<std::string> wrap_words(std::string_view text, std::size_t most) {
  std::vector<std::string> lines(1);
  while (!text.empty()) {
    const auto end = std::min(text.find(' '), text.size());
    const std::string_view word = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    std::string& line = lines.back();
    if (!line.empty() && text_width(line) + 1 + text_width(word) > most) {
      lines.emplace_back(word);
    } else {
      line += (line.empty() ? "" : " ") + std::string(word);
    }
  }
  return lines;
}

/// One bar from `x` of width `w` with its whisker and, where it fits, its number.
inline std::string svg_bar(const BarPlot& plot, const Frame& frame, std::size_t series, std::size_t group,
                           double x, double w) {
  const BarSeries& s = plot.series[series];
  const double value = s.values[group];
  if (!std::isfinite(value)) return "";
  const double zero = frame.y_of(0), end = frame.y_of(value), middle = x + w / 2;
  double top = std::min(zero, end);
  std::string out = "<rect x=\"" + number(x) + "\" y=\"" + number(top) + "\" width=\"" + number(w) +
                    "\" height=\"" + number(std::abs(zero - end)) + "\" class=\"fill " +
                    series_class(series) + "\"/>\n";
  if (!s.low.empty() && std::isfinite(s.low[group]) && std::isfinite(s.high[group])) {
    const double from = frame.y_of(s.low[group]), to = frame.y_of(s.high[group]), half = std::min(5.0, w / 4);
    out += svg_line(middle, from, middle, to, "whisker") +
           svg_line(middle - half, from, middle + half, from, "whisker") +
           svg_line(middle - half, to, middle + half, to, "whisker");
    top = std::min(top, to);
  }
  const std::string text = fixed(value, plot.digits);
  if (text_pixels(text) <= w + 6) out += svg_text(middle, top - 4, text, "value");
  return out;
}

}  // namespace detail

/// The chart as one `<svg>` element. Lists that differ in length are an Error.
inline std::string to_svg(const BarPlot& plot) {
  detail::expect_regular(plot);
  std::vector<detail::LegendEntry> legend;
  for (const BarSeries& s : plot.series) legend.push_back({s.label, true});
  detail::Frame frame{.width = plot.width, .height = plot.height, .y = detail::bar_axis(plot)};
  const auto groups = static_cast<double>(plot.groups.size()), bars = static_cast<double>(plot.series.size());
  const double about = (plot.width - 60) / groups;
  std::vector<std::vector<std::string>> names;
  std::size_t lines = 1;
  for (const auto& group : plot.groups) {
    names.push_back(detail::wrap_words(group, static_cast<std::size_t>(std::max(4.0, about / 7))));
    lines = std::max(lines, names.back().size());
  }
  std::string out =
      detail::svg_begin(frame, plot.title, plot.y_label, legend, 12 + 15 * static_cast<double>(lines));
  const double slot = (frame.right - frame.left) / groups;
  const double pitch = std::min(64.0, slot * 0.86 / bars);
  for (std::size_t g = 0; g < names.size(); ++g) {
    const double middle = frame.left + slot * (static_cast<double>(g) + 0.5);
    for (std::size_t s = 0; s < plot.series.size(); ++s) {
      const double x = middle + pitch * (static_cast<double>(s) - bars / 2) + pitch * 0.06;
      out += detail::svg_bar(plot, frame, s, g, x, pitch * 0.88);
    }
    for (std::size_t k = 0; k < names[g].size(); ++k) {
      out += detail::svg_text(middle, frame.bottom + 17 + 15 * static_cast<double>(k), names[g][k], "mid");
    }
  }
  out += detail::svg_line(frame.left, frame.y_of(0), frame.right, frame.y_of(0), "axis");
  return out + "</svg>\n";
}

}  // namespace morphvlm
