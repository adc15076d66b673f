#include "repro/figure2.hpp"

#include <algorithm>
#include <cmath>
#include <limits>
#include <sstream>

#include "repro/paper_claims.hpp"
#include "repro/published.hpp"

namespace morphvlm::repro {

namespace {

constexpr double kPeak = 1e-3;               // of the published curves
constexpr std::int64_t kSteps = 60;          // optimizer steps
constexpr double kPointReadingError = 1e-7;  // of a point, from the figure's pixels

double largest_deviation(const Series& curve, const Schedule& schedule, std::int64_t accumulation) {
  double worst = 0;
  for (std::size_t i = 0; i < curve.x.size(); ++i)
    worst = std::max(worst, std::abs(curve.y[i] - logged_rate(schedule, curve.x[i], accumulation)));
  return worst;
}

// The legend does not say how far an exponential falls, so it gets the fall that suits it best.
double kindest_deviation(const Series& curve, const Schedule& legend, std::int64_t accumulation) {
  const auto* exponential = std::get_if<Exponential>(&legend);
  if (!exponential) return largest_deviation(curve, legend, accumulation);
  double best = std::numeric_limits<double>::infinity();
  for (double exponent = -6; exponent <= 0; exponent += 0.01) {
    const Exponential tried{.warmup = exponential->warmup, .final = std::pow(10.0, exponent)};
    best = std::min(best, largest_deviation(curve, tried, accumulation));
  }
  return best;
}

std::string scientific(double value) {
  std::ostringstream out;
  out.precision(2);
  out << value;
  return out.str();
}

std::string describe(const Schedule& schedule) {
  return std::visit(
      [](const auto& s) { return std::string(s.name) + ", warm-up " + std::to_string(s.warmup); }, schedule);
}

Series drawn_by(const PublishedSchedule& p, const Series& curve, const Schedule& schedule,
                const std::string& label) {
  Series out{.label = label};
  for (const double step : curve.x) {
    out.x.push_back(step);
    out.y.push_back(logged_rate(schedule, step, p.accumulation));
  }
  return out;
}

Figure figure_of(const PublishedSchedule& p, const Series& curve) {
  Series ours = drawn_by(p, curve, p.drawn, "ours: " + describe(p.drawn));
  Series legend = drawn_by(p, curve, p.legend, "as the legend says");
  Series paper = curve;
  paper.label = "published";
  paper.faint = true;
  legend.dashed = true;
  return {to_svg(LinePlot{.title = p.curve,
                          .x_label = "global step",
                          .y_label = "learning rate",
                          .series = {paper, ours, legend}}),
          p.accumulation == 1 ? ""
                              : "Logged every " + std::to_string(p.accumulation) +
                                    "th step: gradients are accumulated over as many batches."};
}

}  // namespace

std::vector<PublishedSchedule> published_schedules() {
  return {{"0 Warmup Cosine", Cosine{.warmup = 0}, Cosine{.warmup = 0}, 1},
          {"20 Warmup Cosine", Cosine{.warmup = 20}, Cosine{.warmup = 10}, 1},
          {"20 Warmup Exponential", Exponential{.warmup = 20}, Cosine{.warmup = 10}, 4}};
}

double logged_rate(const Schedule& schedule, double step, std::int64_t accumulation) {
  const auto updates = static_cast<std::int64_t>(step + 1) / accumulation;
  return kPeak * rate_factor(schedule, updates, kSteps);
}

RowResult learning_rate_row(const std::vector<PublishedSchedule>& schedules,
                            const std::filesystem::path& published) {
  const auto curves = read_published(published / "fig2_learning_rate.csv");
  RowResult out{.row = paper_row("F2.lr"),
                .report = {.name = "F2.lr", .scale = "mini"},
                .table = {.title = "F2.lr: largest deviation from the published points",
                          .columns = {"curve", "points", "as the legend says", "drawn by", "deviation"}}};
  std::vector<std::string> wrong;
  Figures figures;
  for (const auto& p : schedules) {
    const Series& curve = published_curve(curves, p.curve);
    const double legend = kindest_deviation(curve, p.legend, p.accumulation);
    const double drawn = largest_deviation(curve, p.drawn, p.accumulation);
    out.row.checks.push_back(
        at_most("deviation of our schedule from \"" + p.curve + '"', drawn, kPointReadingError));
    if (!(legend <= kPointReadingError)) wrong.push_back('"' + p.curve + "\" is " + describe(p.drawn));
    const auto by =
        describe(p.drawn) + (p.accumulation > 1 ? ", accumulation " + std::to_string(p.accumulation) : "");
    out.table.rows.push_back(
        {p.curve, std::to_string(curve.x.size()), scientific(legend), by, scientific(drawn)});
    out.report.metrics.push_back({.name = "deviation." + p.curve, .value = drawn, .n = std::ssize(curve.x)});
    out.report.metrics.push_back(
        {.name = "deviation_from_legend." + p.curve, .value = legend, .n = std::ssize(curve.x)});
    figures.items.push_back(figure_of(p, curve));
  }
  out.table.notes = {"error of reading a point from the figure: " + scientific(kPointReadingError)};
  out.row.verdict = wrong.empty() ? Verdict::reproduced : Verdict::contradicted;
  for (const auto& w : wrong)
    out.row.evidence += (out.row.evidence.empty() ? "By the figure's own points " : "; ") + w;
  out.row.evidence += wrong.empty() ? "All curves are what their legend says." : ".";
  out.page = {.title = "Are the learning-rate curves what their legend says? Row F2.lr",
              .lead = "Schedules with a peak of 0.001 over 60 optimizer steps, against the published points.",
              .sections = {{"Result", {verdict_paragraph(out.row), out.table, figures}},
                           {"Checks", {checks_table(out.row)}}}};
  return out;
}

}  // namespace morphvlm::repro
