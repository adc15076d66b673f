#include "morphvlm/report/plot.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <regex>
#include <string>
#include <vector>

#include "morphvlm/report/bars.hpp"
#include "tests/formats/files.hpp"

namespace morphvlm::plot_test {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::StartsWith;

constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
constexpr double kInf = std::numeric_limits<double>::infinity();

std::vector<std::string> texts(const Axis& axis) {
  std::vector<std::string> out;
  for (const Tick& tick : axis.ticks) out.push_back(tick.text);
  return out;
}

std::vector<std::string> all(const std::string& svg, const std::string& pattern) {
  const std::regex re(pattern);
  std::vector<std::string> out;
  for (std::sregex_iterator i(svg.begin(), svg.end(), re), end; i != end; ++i) out.push_back((*i)[1]);
  return out;
}

TEST(AxisTest, LinearTicksAreRound) {
  EXPECT_THAT(texts(linear_axis(0, 1, 5, true)), ElementsAre("0.0", "0.2", "0.4", "0.6", "0.8", "1.0"));
  EXPECT_THAT(texts(linear_axis(3, 97, 5, true)), ElementsAre("0", "20", "40", "60", "80", "100"));
  EXPECT_THAT(texts(linear_axis(3, 97, 5, false)), ElementsAre("20", "40", "60", "80"));
  EXPECT_THAT(texts(linear_axis(-0.6, 0.7, 5, true)), ElementsAre("-1.0", "-0.5", "0.0", "0.5", "1.0"));
  EXPECT_THAT(texts(linear_axis(0, 12000, 4, true)), ElementsAre("0", "5,000", "10,000", "15,000"));
  EXPECT_THAT(texts(linear_axis(0, 1e-5, 2, true)), ElementsAre("0.000000", "5e-06", "1e-05"));
}

TEST(AxisTest, OneValueGetsARange) {
  for (const double v : {0.0, 5.0, -3e9}) {
    const Axis axis = linear_axis(v, v, 5, true);
    EXPECT_LT(axis.low, axis.high);
    EXPECT_GE(axis.ticks.size(), 2u);
    EXPECT_GE(axis.place(v), 0);
    EXPECT_LE(axis.place(v), 1);
  }
}

TEST(AxisTest, LogarithmicEndsAreMarks) {
  EXPECT_THAT(texts(logarithmic_axis(0.3, 2.9)), ElementsAre("0.2", "0.5", "1", "2", "5"));
  EXPECT_THAT(texts(logarithmic_axis(1, 1)), ElementsAre("0.5", "1"));
  EXPECT_THAT(texts(logarithmic_axis(0.001, 1000)),
              ElementsAre("0.001", "0.01", "0.1", "1", "10", "100", "1,000"));
  const Axis axis = logarithmic_axis(1, 100);
  EXPECT_DOUBLE_EQ(axis.place(10), 0.5);
  EXPECT_FALSE(axis.shows(0));
}

TEST(CurveTest, MovingAverage) {
  const std::vector<double> v = {1, 2, kNan, 4, 8};
  EXPECT_THAT(moving_average(v, 3), ElementsAre(1.5, 1.5, 3, 6, 6));
  EXPECT_THAT(moving_average(v, 2), ElementsAre(1.5, 2, 4, 6, 8));
  EXPECT_TRUE(std::isnan(moving_average(v, 1)[2]));
  EXPECT_ERROR(moving_average(v, 0), HasSubstr("at least 1"));
}

TEST(CurveTest, ExponentialAverage) {
  // (beta v0 + v1) / (beta + 1), then the same with the gap left out.
  const std::vector<double> v = {3, 1, kInf, 2};
  const auto mean = exponential_average(v, 0.5);
  EXPECT_DOUBLE_EQ(mean[0], 3);
  EXPECT_DOUBLE_EQ(mean[1], (0.5 * 3 + 1) / 1.5);
  EXPECT_TRUE(std::isnan(mean[2]));
  EXPECT_DOUBLE_EQ(mean[3], (0.25 * 3 + 0.5 * 1 + 2) / 1.75);
  EXPECT_ERROR(exponential_average(v, 1), HasSubstr("beta < 1"));
}

TEST(CurveTest, ThinningKeepsSpikesAndGaps) {
  std::vector<double> y(100000, 1.0);
  y[31234] = 50;
  y[31239] = kNan;
  y[77777] = -3;
  const auto kept = detail::thinned(y, 1000);
  EXPECT_LT(kept.size(), 5000u);
  EXPECT_TRUE(std::ranges::is_sorted(kept));
  for (const std::size_t i : {0u, 31234u, 31239u, 77777u, 99999u}) {
    EXPECT_TRUE(std::ranges::binary_search(kept, i)) << i;
  }
  EXPECT_EQ(detail::thinned(std::vector<double>(4000, 1.0), 1000).size(), 4000u);
}

TEST(LinePlotTest, PointsStandWhereTheyBelong) {
  const LinePlot plot{.series = {{.label = "a", .x = {0, 5, 10}, .y = {0, 10, 5}}}};
  const auto points = all(to_svg(plot), "<polyline class=\"line s0\" points=\"([^\"]*)\"");
  const auto size = all(to_svg(plot), "<svg x=\"[^>]*(width=\"[0-9.]+\" height=\"[0-9.]+)\"");
  ASSERT_EQ(points.size(), 1u);
  ASSERT_EQ(size.size(), 1u);
  double w = 0, h = 0, x[3], y[3];
  ASSERT_EQ(std::sscanf(size[0].c_str(), "width=\"%lf\" height=\"%lf", &w, &h), 2);
  ASSERT_EQ(std::sscanf(points[0].c_str(), "%lf,%lf %lf,%lf %lf,%lf", x, y, x + 1, y + 1, x + 2, y + 2), 6);
  EXPECT_THAT(x, ElementsAre(0, ::testing::DoubleNear(w / 2, 0.11), ::testing::DoubleNear(w, 0.11)));
  EXPECT_THAT(y, ElementsAre(::testing::DoubleNear(h, 0.11), 0, ::testing::DoubleNear(h / 2, 0.11)));
}

TEST(LinePlotTest, PointsThatAreNotFiniteBreakTheLine) {
  const LinePlot plot{.series = {{.x = {0, 1, 2, 3, 4, kNan, 6}, .y = {1, 2, kNan, 3, kInf, 1, 2}}}};
  const std::string svg = to_svg(plot);
  EXPECT_EQ(all(svg, "(<polyline)").size(), 1u);  // 0 to 1
  EXPECT_EQ(all(svg, "(<circle)").size(), 2u);    // 3 and 6
  for (const char* word : {"nan", "inf\""}) EXPECT_THAT(svg, Not(HasSubstr(word)));
}

TEST(LinePlotTest, ALogarithmicAxisLeavesOutWhatIsNotPositive) {
  const LinePlot plot{.series = {{.x = {0, 1, 2, 3}, .y = {1, 0.1, 0, -1}}}, .log_y = true};
  const auto points = all(to_svg(plot), "<polyline [^>]*points=\"([^\"]*)\"");
  ASSERT_EQ(points.size(), 1u);
  EXPECT_EQ(std::ranges::count(points[0], ','), 2);
}

TEST(LinePlotTest, BandsDashesLegendAndEscapes) {
  const LinePlot plot{.title = "a < b",
                      .x_label = "step & time",
                      .series = {{.label = "<mean>", .x = {0, 1}, .y = {1, 2}, .low = {0, 1}, .high = {2, 3}},
                                 {.label = "published", .x = {0, 1}, .y = {2, 2}, .dashed = true}}};
  const std::string svg = to_svg(plot);
  EXPECT_THAT(svg,
              AllOf(HasSubstr("<polygon class=\"band s0\""), HasSubstr("<polyline class=\"line dashed s1\""),
                    HasSubstr("&lt;mean&gt;"), HasSubstr("a &lt; b"), HasSubstr("step &amp; time"),
                    HasSubstr("prefers-color-scheme:dark")));
  EXPECT_EQ(all(svg, "(<svg)").size(), all(svg, "(</svg>)").size());
}

TEST(LinePlotTest, NothingToShowIsSaid) {
  for (const bool log_y : {false, true}) {
    EXPECT_THAT(to_svg(LinePlot{.log_y = log_y}), HasSubstr("no data"));
    EXPECT_THAT(to_svg(LinePlot{.series = {{.x = {1}, .y = {kNan}}}, .log_y = log_y}), HasSubstr("no data"));
  }
}

TEST(LinePlotTest, ListsOfDifferentLengthAreRefused) {
  EXPECT_ERROR(to_svg(LinePlot{.series = {{.label = "a", .x = {1, 2}, .y = {1}}}}),
               AllOf(HasSubstr("\"a\""), HasSubstr("2 values of x but 1 of y")));
  EXPECT_ERROR(to_svg(LinePlot{.series = {{.label = "a", .x = {1}, .y = {1}, .low = {1}}}}),
               HasSubstr("0 of high"));
  EXPECT_ERROR(to_svg(LinePlot{.title = "t", .series = {{.x = {1}, .y = {1}}}, .log_y = true, .y_low = 0}),
               HasSubstr("plot \"t\""));
}

BarPlot bars() {
  return {.title = "accuracy",
          .groups = {"all", "yes/no"},
          .series = {{"blind", {50, kNan}}, {"seeing", {100, 25}, {90, 20}, {100, 30}}}};
}

TEST(BarPlotTest, HeightsAreInProportion) {
  const auto heights = all(to_svg(bars()), "<rect [^>]*height=\"([0-9.]+)\" class=\"fill");
  ASSERT_EQ(heights.size(), 3u);  // no bar for NaN
  EXPECT_NEAR(std::stod(heights[1]), 2 * std::stod(heights[0]), 0.2);
  EXPECT_NEAR(std::stod(heights[1]), 4 * std::stod(heights[2]), 0.4);
  EXPECT_EQ(all(to_svg(bars()), "(class=\"whisker\")").size(), 6u);
  EXPECT_THAT(to_svg(bars()),
              AllOf(HasSubstr(">50.0</text>"), HasSubstr(">yes/no</text>"), Not(HasSubstr("nan"))));
}

TEST(BarPlotTest, LongNamesAreWrapped) {
  EXPECT_THAT(detail::wrap_words("majority answer a question", 10),
              ElementsAre("majority", "answer a", "question"));
  EXPECT_THAT(detail::wrap_words("incomprehensibilities", 5), ElementsAre("incomprehensibilities"));
}

TEST(BarPlotTest, WhatDoesNotFitTogetherIsRefused) {
  BarPlot wrong = bars();
  wrong.series[0].values.pop_back();
  EXPECT_ERROR(to_svg(wrong),
               AllOf(HasSubstr("\"accuracy\""), HasSubstr("\"blind\" has 1 values"), HasSubstr("2 groups")));
  EXPECT_ERROR(to_svg(BarPlot{.title = "none"}), HasSubstr("found 0 and 0"));
}

}  // namespace
}  // namespace morphvlm::plot_test
