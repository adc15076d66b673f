// Line charts as SVG.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/report/axis.hpp"
#include "morphvlm/report/curve.hpp"
#include "morphvlm/report/svg.hpp"

namespace morphvlm {

/// Curves over a common x axis.
struct LinePlot {
  std::string title = {};             ///< above the plot
  std::string x_label = {};           ///< below the axis, with its unit
  std::string y_label = {};           ///< beside the axis, with its unit
  std::vector<Series> series = {};    ///< in the order of the legend
  bool log_y = false;                 ///< values that are not positive are left out
  std::optional<double> y_low = {};   ///< lower end of the y axis; what is outside is cut off
  std::optional<double> y_high = {};  ///< upper end of the y axis
  double width = 440;                 ///< in pixels; the picture scales
  double height = 290;                ///< in pixels
};

namespace detail {

struct AxisRange {
  double low = std::numeric_limits<double>::infinity(), high = -low;

  void add(double v) { low = std::min(low, v), high = std::max(high, v); }
  bool empty() const { return !(low <= high); }
};

inline Axis plot_y_axis(const LinePlot& plot) {
  const Axis scale{.log = plot.log_y};
  AxisRange range;
  for (const Series& s : plot.series) {
    for (std::size_t i = 0; i < s.x.size(); ++i) {
      if (!std::isfinite(s.x[i]) || !scale.shows(s.y[i])) continue;
      range.add(s.y[i]);
      if (!s.low.empty() && scale.shows(s.low[i])) range.add(s.low[i]);
      if (!s.high.empty() && scale.shows(s.high[i])) range.add(s.high[i]);
    }
  }
  if (range.empty()) range = {1, 10};
  const double low = plot.y_low.value_or(range.low), high = plot.y_high.value_or(range.high);
  expect(std::isfinite(low) && std::isfinite(high) && (!plot.log_y || (low > 0 && high > 0)), "plot \"",
         plot.title, "\": the y axis cannot reach from ", low, " to ", high);
  return plot.log_y ? logarithmic_axis(std::min(low, high), std::max(low, high))
                    : linear_axis(std::min(low, high), std::max(low, high), 5, true);
}

inline Axis plot_x_axis(const LinePlot& plot) {
  AxisRange range;
  for (const Series& s : plot.series) {
    for (const double x : s.x) {
      if (std::isfinite(x)) range.add(x);
    }
  }
  return range.empty() ? linear_axis(0, 1, 5, false) : linear_axis(range.low, range.high, 5, false);
}

/// Places of a series' points relative to the frame's area.
struct SeriesPath {
  const Series& series;
  const Frame& frame;
  const Axis& x;

  bool shown(std::size_t i) const { return std::isfinite(series.x[i]) && frame.y.shows(series.y[i]); }
  std::string at(std::size_t i, double value) const {
    // Far outside is as good as outside, and keeps the numbers short.
    const double height = frame.bottom - frame.top;
    const double y = std::clamp(frame.y_of(value) - frame.top, -height, 2 * height);
    return number(x.place(series.x[i]) * (frame.right - frame.left)) + ',' + number(y);
  }
};

inline std::string svg_band(const SeriesPath& path, const std::string& own) {
  const Series& s = path.series;
  if (s.low.empty()) return "";
  std::string there, back;
  for (const std::size_t i : thinned(s.y, 1000)) {
    const Axis& y = path.frame.y;
    if (!path.shown(i) || !y.shows(s.high[i]) || !y.shows(s.low[i])) continue;
    there += path.at(i, s.high[i]) + ' ';
    back = path.at(i, s.low[i]) + ' ' + back;
  }
  return there.empty() ? "" : "<polygon class=\"band " + own + "\" points=\"" + there + back + "\"/>\n";
}

inline std::string_view stroke_class(const Series& s) {
  return s.dashed ? (s.faint ? "dashed faint " : "dashed ") : (s.faint ? "faint " : "");
}

inline std::string svg_curve(const SeriesPath& path, const std::string& own) {
  std::string out, points;
  std::size_t count = 0;
  const auto flush = [&] {
    if (count > 1) {
      out += "<polyline class=\"line " + std::string(stroke_class(path.series)) + own + "\" points=\"" +
             points + "\"/>\n";
    } else if (count == 1) {  // a line of one point would not be seen
      const auto comma = points.find(',');
      out += "<circle class=\"fill " + own + "\" r=\"3\" cx=\"" + points.substr(0, comma) + "\" cy=\"" +
             points.substr(comma + 1) + "\"/>\n";
    }
    points.clear();
    count = 0;
  };
  for (const std::size_t i : thinned(path.series.y, 1000)) {
    if (!path.shown(i)) {
      flush();
      continue;
    }
    points += (count++ ? " " : "") + path.at(i, path.series.y[i]);
  }
  flush();
  return out;
}

inline std::string svg_x_axis(const Frame& frame, const Axis& x, const std::string& label) {
  std::string out = svg_line(frame.left, frame.bottom, frame.right, frame.bottom, "axis");
  for (const Tick& tick : x.ticks) {
    const double at = frame.left + x.place(tick.value) * (frame.right - frame.left);
    // Near the right edge text would leave the picture.
    const bool edge = at + text_pixels(tick.text) / 2 > frame.width;
    out +=
        svg_line(at, frame.bottom, at, frame.bottom + 4, "axis") +
        svg_text(edge ? frame.width - 2 : at, frame.bottom + 18, tick.text, edge ? "soft end" : "soft mid");
  }
  if (!label.empty()) out += svg_text((frame.left + frame.right) / 2, frame.bottom + 36, label, "soft mid");
  return out;
}

}  // namespace detail

/// The plot as one `<svg>` element, to be put into a page or a file of its own. Without any finite point it
/// shows empty axes and says so. A series whose lists differ in length is an Error.
inline std::string to_svg(const LinePlot& plot) {
  std::vector<detail::LegendEntry> legend;
  for (const Series& s : plot.series) {
    detail::expect_regular(s);
    legend.push_back({s.label, false, detail::stroke_class(s)});
  }
  const Axis x = detail::plot_x_axis(plot);
  detail::Frame frame{.width = plot.width, .height = plot.height, .y = detail::plot_y_axis(plot)};
  std::string out =
      detail::svg_begin(frame, plot.title, plot.y_label, legend, plot.x_label.empty() ? 26 : 46);
  out += detail::svg_x_axis(frame, x, plot.x_label);
  // A picture of its own cuts off what is outside, without ids that could meet another plot's.
  std::string curves;
  for (std::size_t i = 0; i < plot.series.size(); ++i) {
    const detail::SeriesPath path{plot.series[i], frame, x};
    curves +=
        detail::svg_band(path, detail::series_class(i)) + detail::svg_curve(path, detail::series_class(i));
  }
  if (curves.empty()) {
    out += detail::svg_text((frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2, "no data",
                            "soft mid");
  }
  out += "<svg x=\"" + detail::number(frame.left) + "\" y=\"" + detail::number(frame.top) + "\" width=\"" +
         detail::number(frame.right - frame.left) + "\" height=\"" +
         detail::number(frame.bottom - frame.top) + "\" overflow=\"hidden\">\n" + curves + "</svg>\n";
  return out + "</svg>\n";
}

}  // namespace morphvlm
