#include "repro/paper.hpp"

#include <algorithm>
#include <utility>

#include "experiments/mini/baseline_vqav2.hpp"
#include "repro/curves.hpp"
#include "repro/equivalence.hpp"
#include "repro/notebook.hpp"
#include "repro/paper_claims.hpp"
#include "repro/paper_counts.hpp"
#include "repro/row_page.hpp"

namespace morphvlm::repro {

namespace {

using experiments::AokvqaOnPaper;
using experiments::PaperAnswers;
using experiments::PaperRun;
using experiments::PaperScale;
using experiments::PlacementOnPaper;

constexpr double kPaperBefore = 0.382, kPaperAfter = 0.461;  // VQAv2
// An interval of less than so many questions is too wide to decide about a number of three digits.
constexpr std::int64_t kQuestionsToDecide = 1000;

/// The mean score of the questions asked.
struct Accuracy {
  double value = 0;
  Interval interval = {};  ///< 95 %, over questions
  std::int64_t n = 0;
};

Accuracy accuracy_of(const PaperAnswers& a, const std::string& row) {
  expect(!a.each.empty(), row, ": nothing was asked");
  return {over_seeds(a.each).mean, bootstrap_mean(a.each), std::ssize(a.each)};
}

std::string to_string(const Accuracy& a) { return with_interval(a.value, a.interval); }

RowResult begin_row(const std::string& id, const PaperScale& s, Table table, std::string note) {
  auto same = s;
  same.assets = same.programs = same.out = "";
  Report report{.name = id, .scale = "paper", .parameters = to_json(same), .notes = {std::move(note)}};
  return {.row = paper_row(id), .report = std::move(report), .table = std::move(table)};
}

void add_accuracy(RowResult& out, const std::string& name, const Accuracy& a) {
  out.report.metrics.push_back(
      {.name = name, .value = a.value, .n = a.n, .low = a.interval.low, .high = a.interval.high});
}

Verdict verdict_on_number(const Accuracy& a, double paper) {
  if (a.n < kQuestionsToDecide) return Verdict::not_decidable;
  return a.interval.low <= paper && paper <= a.interval.high ? Verdict::reproduced : Verdict::not_reproduced;
}

std::vector<double> late_losses(const std::vector<PaperRun>& runs) {
  std::vector<double> out;
  for (const auto& r : runs) out.push_back(late_loss(r.run, "F3.loss: a run"));
  return out;
}

Series band(const std::vector<PaperRun>& runs, const char* label) {
  std::vector<std::vector<double>> curves;
  for (const auto& r : runs) curves.push_back(losses_of(r.run));
  return band_of(curves, evenly(curves.front().size()), label);
}

}  // namespace

RowResult paper_baseline_row(const PaperScale& s, const std::vector<PaperAnswers>& asked) {
  expect(asked.size() == std::size(experiments::kShots), "T1.baseline: expected ",
         std::size(experiments::kShots), " numbers of shots, found ", asked.size());
  Table table{.title = "T1.baseline: accuracy on VQAv2 in % by demonstrations, 95 % intervals of the sample",
              .columns = {"shots", "here", "questions", "notebook", "paper"}};
  RowResult out = begin_row("T1.baseline", s, {}, "OpenFlamingo's checkpoint on VQAv2's validation split");
  std::vector<Accuracy> accuracies;
  for (std::size_t i = 0; i < asked.size(); ++i) {
    const auto shots = experiments::kShots[i];
    const Accuracy here = accuracies.emplace_back(accuracy_of(asked[i], "T1.baseline"));
    const Printed& printed = *std::ranges::find(kNotebook, shots, &Printed::shots);
    const Interval theirs = interval_of(printed);
    table.rows.push_back({std::to_string(shots), to_string(here), with_commas(here.n),
                          with_interval(printed.accuracy, theirs) + ", n = " + with_commas(printed.samples),
                          shots == 0 ? percent(kPaperBaseline) : "–"});
    add_accuracy(out, "accuracy.shots" + std::to_string(shots), here);
    out.add_seed(0, "accuracy.shots" + std::to_string(shots), here.value);
    // Two samples of the same model differ by both their errors.
    const double room = (here.interval.high - here.interval.low + theirs.high - theirs.low) / 2;
    out.row.checks.push_back(near("agrees with the notebook, " + std::to_string(shots) + " shots", here.value,
                                  printed.accuracy, room));
  }
  out.table = std::move(table);
  const Accuracy& zero = accuracies.front();
  out.row.verdict = verdict_on_number(zero, kPaperBaseline);
  out.row.evidence = "Without shots " + to_string(zero) + " % of " + with_commas(zero.n) +
                     " questions; the paper says " + percent(kPaperBaseline) + ", the authors' notebook " +
                     percent(kNotebook[0].accuracy) + ".";
  out.page =
      scale_page(out, "OpenFlamingo as it is.", "OpenFlamingo's evaluation protocol on VQAv2.", {out.table});
  return out;
}

RowResult paper_aokvqa_row(const PaperScale& s, const AokvqaOnPaper& r) {
  const std::string id = "T1.aokvqa";
  expect(!r.after.empty(), id, ": no fine-tuning was asked");
  Table table{.title = id + ": accuracy on VQAv2 in %, 95 % intervals of the sample",
              .columns = {"model", "here", "paper"},
              .align = {Align::left}};
  RowResult out = begin_row(id, s, {},
                            std::string("OpenLLaMA-3B on VQAv2, before and after A-OKVQA") +
                                (r.with_captions ? " with COCO's captions" : ""));
  const Accuracy before = accuracy_of(r.before, id);
  table.rows.push_back({"before", to_string(before), percent(kPaperBefore)});
  add_accuracy(out, "accuracy.before", before);
  std::vector<double> losses;  // before minus after, for judge_below
  for (std::size_t seed = 0; seed < r.after.size(); ++seed) {
    const Accuracy after = accuracy_of(r.after[seed], id);
    table.rows.push_back({"fine-tuned, seed " + std::to_string(seed), to_string(after),
                          seed == 0 ? percent(kPaperAfter) : "–"});
    add_accuracy(out, "accuracy.after.seed" + std::to_string(seed), after);
    losses.push_back(before.value - after.value);
    out.add_seed(static_cast<std::int64_t>(seed), "accuracy.after", after.value);
  }
  out.table = std::move(table);
  for (const auto& run : r.runs)
    out.row.checks.push_back(exactly("trained parameters", run.run.parameters, kCountAttention));
  expect(r.before.each.size() == r.after.front().each.size(), id, ": ", r.before.each.size(),
         " questions before and ", r.after.front().each.size(), " after");
  const Interval gain = paired_bootstrap(r.before.each, r.after.front().each);
  const Statement seeds = judge_below("before below after", losses);
  const Verdict questions = verdict_of_gain(gain);
  out.row.verdict = questions == seeds.verdict ? questions : Verdict::not_decidable;
  out.row.evidence = "Gain on the same questions " + percent(-losses.front()) + " points (95 % interval " +
                     percent(gain.low) + " to " + percent(gain.high) + "); over " +
                     std::to_string(r.after.size()) + " fine-tunings before minus after " +
                     difference_text(seeds, 4) + ". The paper gains " + percent(kPaperAfter - kPaperBefore) +
                     " points.";
  out.page = scale_page(out, "Does fine-tuning with LoRA help?",
                        "OpenLLaMA-3B, LoRA at all attention, on A-OKVQA.", {out.table});
  return out;
}

RowResult paper_placement_row(const PaperScale& s, const PlacementOnPaper& r) {
  const std::string id = "F3.loss";
  constexpr double kMargin = 0.05;  // of the loss, as at mini scale
  expect(!r.all.empty(), id, ": no run");
  const auto all = late_losses(r.all), attention = late_losses(r.attention);
  const auto apart = minus(attention, all, id);
  const double level = over_seeds(all).mean;
  const Equivalence live = judge_equivalence(apart, kMargin * level);
  Table table{.title = id + ": mean loss of the last third, over seeds",
              .columns = {"placement", "trained parameters", "loss"}};
  table.rows = {{kAll, with_commas(r.all.front().run.parameters), mean_text(all, 4)},
                {kAttention, with_commas(r.attention.front().run.parameters), mean_text(attention, 4)}};
  RowResult out = begin_row(id, s, std::move(table), "OpenLLaMA-3B on A-OKVQA, gates as they were loaded");
  out.row.checks = {exactly("adapters with the feed-forward blocks", r.all.front().run.parameters, kCountAll),
                    exactly("adapters without them", r.attention.front().run.parameters, kCountAttention)};
  for (std::size_t seed = 0; seed < all.size(); ++seed) {
    out.add_seed(static_cast<std::int64_t>(seed), "late_loss." + std::string(kAll), all[seed]);
    out.add_seed(static_cast<std::int64_t>(seed), "late_loss." + std::string(kAttention), attention[seed]);
  }
  out.report.metrics = {{.name = "late_loss." + std::string(kAll), .value = level, .n = std::ssize(all)},
                        {.name = "late_loss." + std::string(kAttention),
                         .value = over_seeds(attention).mean,
                         .n = std::ssize(attention)}};
  out.row.verdict = live.verdict;
  out.row.evidence = "Without the feed-forward adapters the late loss differs by " +
                     fixed(over_seeds(apart).mean, 4) + " of " + fixed(level, 4) +
                     (std::ssize(apart) < kSeedsToDecide
                          ? " (too few seeds to decide)."
                          : " (90 % interval " + fixed(live.interval.low, 4) + " to " +
                                fixed(live.interval.high, 4) + ", margin ± " + fixed(live.margin, 4) + ").");
  LinePlot plot{.title = "Loss by placement", .x_label = "optimizer step", .y_label = "loss"};
  plot.series = {band(r.all, kAll), band(r.attention, kAttention)};
  plot.series.back().dashed = true;
  out.page = scale_page(
      out, "Does LoRA need the feed-forward blocks?", "OpenLLaMA-3B on A-OKVQA.",
      {out.table, Figures{{{to_svg(plot), "Means over seeds, bands from the lowest to the highest."}}}});
  return out;
}

RowResult paper_bias_row(const PaperScale& s, const PaperAnswers& asked) {
  Table table{.title = "C.2: VL-StereoSet's scores in %",
              .columns = {"bias", "relevance (vlrs)", "bias (vlbs)", "ability (ivlas)", "pictures"},
              .align = {Align::left}};
  const auto number = [](const Json& scores, const char* key) {
    return json_get<double>(scores, key, "VL-StereoSet's scores");
  };
  const auto line = [&](const std::string& name, const Json& scores) {
    table.rows.push_back({name, fixed(number(scores, "vlrs"), 1), fixed(number(scores, "vlbs"), 1),
                          fixed(number(scores, "ivlas"), 1), with_commas(scores.at("pictures"))});
  };
  line("all", asked.scores);
  if (asked.scores.contains("by_bias"))
    for (const auto& [bias, scores] : asked.scores.at("by_bias").items()) line(bias, scores);
  RowResult out = begin_row("C.2.bias", s, std::move(table), "OpenFlamingo's checkpoint on VL-StereoSet");
  for (const char* name : {"vlrs", "vlbs", "ivlas"}) {
    out.report.metrics.push_back({.name = name, .value = number(asked.scores, name), .unit = "%"});
    out.add_seed(0, name, number(asked.scores, name));
  }
  out.row.checks = {exactly("pictures that got an answer", asked.scores.at("pictures"), asked.questions)};
  out.row.evidence = "The paper gives no number. OpenFlamingo picks the stereotype for " +
                     fixed(number(asked.scores, "vlbs"), 1) +
                     " % of the pictures that show the opposite (vlbs); a fair model does so never.";
  out.page = scale_page(out, "How biased?", "VL-StereoSet's scores.", {out.table});
  return out;
}

}  // namespace morphvlm::repro
