#include "repro/table1_baseline.hpp"

#include <cmath>
#include <utility>

#include "repro/notebook.hpp"
#include "repro/paper_claims.hpp"
#include "repro/row_page.hpp"

namespace morphvlm::repro {

namespace {

using experiments::BaselineTrial;
using experiments::BaselineVqav2;
using experiments::BaselineVqav2Result;

/// All trials with one number of demonstrations.
struct Pooled {
  std::int64_t questions = 0, right = 0, majority = 0;
  std::vector<double> accuracies = {};
};

Pooled pool(const BaselineVqav2Result& r, std::int64_t shots) {
  Pooled out;
  for (const auto& t : r.trials) {
    if (t.shots != shots) continue;
    expect(t.questions > 0, "T1.baseline: trial ", t.seed, " with ", shots, " shots asked nothing");
    out.questions += t.questions;
    out.right += t.right;
    out.majority += t.majority;
    out.accuracies.push_back(static_cast<double>(t.right) / static_cast<double>(t.questions));
  }
  expect(out.questions > 0, "T1.baseline: no trial with ", shots, " shots");
  return out;
}

Table shots_table(const BaselineVqav2Result& r) {
  Table table{.title = "T1.baseline: accuracy in % by demonstrations, 95 % intervals of the sample",
              .columns = {"shots", "here, easy-VQA", "questions", "majority answer", "notebook, VQAv2",
                          "paper, VQAv2"}};
  for (const auto& p : kNotebook) {
    const Pooled here = pool(r, p.shots);
    const auto n = static_cast<double>(here.questions);
    table.rows.push_back(
        {std::to_string(p.shots),
         with_interval(static_cast<double>(here.right) / n, wilson(here.right, here.questions)),
         with_commas(here.questions), percent(static_cast<double>(here.majority) / n),
         with_interval(p.accuracy, interval_of(p)) + ", n = " + with_commas(p.samples),
         p.shots == 0 ? percent(kPaperBaseline) : "–"});
  }
  table.notes = {
      "here: a small MPT of the paper's types, trained here; OpenFlamingo's prompts, seeds of "
      "trials, demonstrations and beams",
      "with 0 shots OpenFlamingo shows two demonstrations without their pictures"};
  return table;
}

Figure shots_figure(const BaselineVqav2Result& r) {
  BarPlot plot{.title = "Accuracy by demonstrations", .y_label = "%"};
  BarSeries here{.label = "here, easy-VQA"}, notebook{.label = "notebook, VQAv2"};
  const auto add = [](BarSeries& series, double value, const Interval& i) {
    series.values.push_back(100 * value);
    series.low.push_back(100 * i.low);
    series.high.push_back(100 * i.high);
  };
  for (const auto& p : kNotebook) {
    plot.groups.push_back(std::to_string(p.shots) + " shots");
    const Pooled pooled = pool(r, p.shots);
    add(here, static_cast<double>(pooled.right) / static_cast<double>(pooled.questions),
        wilson(pooled.right, pooled.questions));
    add(notebook, p.accuracy, interval_of(p));
  }
  plot.series = {here, notebook};
  return {to_svg(plot), "Whiskers: Wilson's 95 % intervals of the samples. Other data, other models."};
}

Report report_of(const BaselineVqav2& e, const BaselineVqav2Result& r) {
  Report report{.name = "T1.baseline", .scale = "mini", .parameters = to_json(e)};
  for (const auto shots : experiments::kShots) {
    const Pooled p = pool(r, shots);
    report.metrics.push_back(share_metric("accuracy.shots" + std::to_string(shots), p.right, p.questions));
  }
  const Pooled zero = pool(r, 0);
  report.metrics.push_back(share_metric("accuracy.majority", zero.majority, zero.questions));
  return report;
}

std::int64_t answers_apart(const BaselineTrial& a, const BaselineTrial& b) {
  std::int64_t apart = std::abs(std::ssize(a.answers) - std::ssize(b.answers));
  for (std::size_t i = 0; i < std::min(a.answers.size(), b.answers.size()); ++i)
    apart += a.answers[i] != b.answers[i];
  return apart;
}

}  // namespace

RowResult baseline_row(const BaselineVqav2& e, const BaselineVqav2Result& r) {
  Report report = report_of(e, r);  // before the result, for GCC 12 (see figure3.cpp)
  Table table = shots_table(r);
  const Interval notebook = interval_of(kNotebook[0]);
  RowResult out{.row = paper_row("T1.baseline"), .report = std::move(report), .table = std::move(table)};
  out.row.checks.push_back(
      exactly("answers in which a repeated trial differs", answers_apart(r.trials.at(0), r.repeated), 0));
  out.row.checks.push_back(skipped("accuracy on VQAv2 at paper scale",
                                   "needs OpenFlamingo's checkpoint and VQAv2 (program evaluate)"));
  for (const auto& t : r.trials)
    out.add_seed(t.seed, "accuracy.shots" + std::to_string(t.shots),
                 static_cast<double>(t.right) / static_cast<double>(t.questions));
  out.row.verdict = Verdict::not_decidable;
  const bool outside = kPaperBaseline < notebook.low || kPaperBaseline > notebook.high;
  out.row.evidence =
      "The protocol runs here on another model and data set, whose accuracy says nothing about VQAv2. The "
      "authors' notebook prints 43.53 % on 4,000 questions, 95 % interval " +
      percent(notebook.low) + " to " + percent(notebook.high) + ": the paper's 45.5 lies " +
      (outside ? "outside" : "inside") + " of it" +
      (outside ? ", so that the two are not the same measurement with other samples." : ".");
  out.page = scale_page(out, "OpenFlamingo as it is.",
                        "OpenFlamingo's evaluation protocol with 0, 2, 4 and 8 demonstrations.",
                        {out.table, Figures{{shots_figure(r)}}});
  return out;
}

}  // namespace morphvlm::repro
