// The parts that all plots share: style, text, frame, legend. Plots are drawn by our own few lines because
// Debian 12 has no C++ library that writes stand-alone SVG which follows the reader's light or dark scheme;
// gnuplot would be a program to install and to call, and its output has fixed colours.
#pragma once

#include <algorithm>
#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "morphvlm/core/format.hpp"
#include "morphvlm/report/axis.hpp"
#include "morphvlm/report/markup.hpp"

namespace morphvlm::detail {

/// Number of colours that are told apart; further series begin again.
inline constexpr std::size_t kSeriesColors = 8;

// Colours that most colour-blind readers tell apart (after Okabe and Ito), darkened or lightened for
// contrast. Paper is white, so the dark scheme is for screens only.
inline constexpr std::string_view kSvgStyle = R"(<style>
.mvplot{--ink:#1c2430;--soft:#5b6675;--grid:#e4e8ed;--axis:#9aa5b1;--c0:#0b6bb8;--c1:#d0560a;--c2:#0a8f6a;--c3:#a8478c;--c4:#8a6d00;--c5:#1f8fc4;--c6:#7a3fc0;--c7:#6b7480;color-scheme:light dark;font:12px system-ui,-apple-system,"Segoe UI",sans-serif}
@media screen and (prefers-color-scheme:dark){.mvplot{--ink:#e6eaf0;--soft:#a3adba;--grid:#2b333e;--axis:#5c6876;--c0:#5aaef0;--c1:#ff9455;--c2:#3ccba0;--c3:#e290c8;--c4:#e2c34a;--c5:#8fd3f5;--c6:#b592f0;--c7:#aab3bf}}
.mvplot text{fill:var(--ink)}.mvplot .soft{fill:var(--soft)}.mvplot .head{font-weight:600;font-size:13px}.mvplot .value{font-size:11px;text-anchor:middle}
.mvplot .grid{stroke:var(--grid)}.mvplot .axis{stroke:var(--axis)}.mvplot .mid{text-anchor:middle}.mvplot .end{text-anchor:end}
.mvplot .line{fill:none;stroke:var(--s);stroke-width:1.8;stroke-linejoin:round}.mvplot .dashed{stroke-dasharray:5 4}.mvplot .faint{stroke-opacity:.4;stroke-width:1.2}.mvplot .fill{fill:var(--s)}.mvplot .band{fill:var(--s);fill-opacity:.18}.mvplot .whisker{stroke:var(--ink);stroke-width:1.2;fill:none}
.mvplot .s0{--s:var(--c0)}.mvplot .s1{--s:var(--c1)}.mvplot .s2{--s:var(--c2)}.mvplot .s3{--s:var(--c3)}.mvplot .s4{--s:var(--c4)}.mvplot .s5{--s:var(--c5)}.mvplot .s6{--s:var(--c6)}.mvplot .s7{--s:var(--c7)}
.mvplot{print-color-adjust:exact;-webkit-print-color-adjust:exact}
</style>
)";

/// Width in pixels of text at 12 px: fonts differ, so a little too much.
inline double text_pixels(std::string_view text) { return 6.6 * static_cast<double>(text_width(text)); }

inline std::string number(double value) { return fixed(value, 1); }

inline std::string series_class(std::size_t series) { return 's' + std::to_string(series % kSeriesColors); }

inline std::string svg_text(double x, double y, std::string_view text, std::string_view classes = "") {
  return "<text x=\"" + number(x) + "\" y=\"" + number(y) + "\" class=\"" + std::string(classes) + "\">" +
         escape_html(text) + "</text>\n";
}

inline std::string svg_line(double x1, double y1, double x2, double y2, std::string_view classes) {
  return "<line x1=\"" + number(x1) + "\" y1=\"" + number(y1) + "\" x2=\"" + number(x2) + "\" y2=\"" +
         number(y2) + "\" class=\"" + std::string(classes) + "\"/>\n";
}

/// One entry of a legend.
struct LegendEntry {
  std::string label;
  bool bar = false;
  std::string_view stroke = {};  // further classes of a line
};

/// Where things are in a plot, in pixels.
struct Frame {
  double width = 0, height = 0;                     // of the whole picture
  double left = 0, top = 0, right = 0, bottom = 0;  // edges of the area for data
  Axis y;

  double y_of(double value) const { return bottom - y.place(value) * (bottom - top); }
};

/// Entries side by side, as many in a line as fit; `y` is moved below them.
inline std::string svg_legend(const std::vector<LegendEntry>& entries, double width, double& y) {
  std::string out;
  double x = 8;
  bool any = false;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    if (entries[i].label.empty()) continue;
    const double needed = 26 + text_pixels(entries[i].label) + 12;
    if (any && x + needed > width) x = 8, y += 18;
    const std::string own = series_class(i);
    if (entries[i].bar) {
      out += "<rect x=\"" + number(x) + "\" y=\"" + number(y - 9) +
             "\" width=\"16\" height=\"10\" rx=\"2\" class=\"fill " + own + "\"/>\n";
    } else {
      out += svg_line(x, y - 4, x + 20, y - 4, "line " + std::string(entries[i].stroke) + own);
    }
    out += svg_text(x + (entries[i].bar ? 22 : 26), y, entries[i].label);
    x += needed;
    any = true;
  }
  if (any) y += 18;
  return out;
}

/// The beginning of a picture: title, legend, the y axis with its grid and label; `frame` gets its edges. The
/// caller says the picture's size, the y axis and the room to keep below the data.
inline std::string svg_begin(Frame& frame, std::string_view title, std::string_view y_label,
                             const std::vector<LegendEntry>& legend, double below) {
  std::string out = "<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"mvplot\" role=\"img\" viewBox=\"0 0 " +
                    fixed(frame.width, 0) + ' ' + fixed(frame.height, 0) + "\">\n<title>" +
                    escape_html(title.empty() ? "plot" : title) + "</title>\n" + std::string(kSvgStyle);
  double y = 18;
  if (!title.empty()) out += svg_text(8, y, title, "head"), y += 22;
  out += svg_legend(legend, frame.width, y);
  if (!y_label.empty()) out += svg_text(8, y, y_label, "soft"), y += 12;
  double widest = 0;
  for (const Tick& tick : frame.y.ticks) widest = std::max(widest, text_pixels(tick.text));
  frame.left = 16 + widest;
  frame.right = frame.width - 16;
  frame.top = y + 4;
  frame.bottom = frame.height - below;
  for (const Tick& tick : frame.y.ticks) {
    const double at = frame.y_of(tick.value);
    out += svg_line(frame.left, at, frame.right, at, "grid") +
           svg_text(frame.left - 6, at + 4, tick.text, "soft end");
  }
  return out;
}

}  // namespace morphvlm::detail
