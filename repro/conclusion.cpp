#include "repro/conclusion.hpp"

#include <cmath>
#include <utility>

#include "morphvlm/core/device.hpp"
#include "repro/curves.hpp"
#include "repro/equivalence.hpp"
#include "repro/paper_claims.hpp"
#include "repro/paper_counts.hpp"
#include "repro/row_page.hpp"

namespace morphvlm::repro {

namespace {

using experiments::BiasVlStereosetResult;
using experiments::MemoryNeed;
using experiments::SwapRun;
using experiments::VisionSwapResult;

// What needs a card is measured at device scale.
std::string where_measured() { return has_cuda() ? "at device scale" : "no CUDA device"; }

Table memory_table(const experiments::Pubmedqa12GbResult& r) {
  Table table{.title = "C.1: what training needs at least, GiB",
              .columns = {"frozen weights in", "language model", "other frozen parts", "adapters, trained",
                          "activations, at least", "sum"}};
  for (const auto& n : r.needs)
    table.rows.push_back(
        {n.dtype, gib(n.language), gib(n.others), gib(n.adapters), gib(n.activations), gib(n.total())});
  table.notes = {"adapters: fp32 weights, gradients and AdamW's two moments",
                 "activations: with every layer recomputed, each layer's input and the logits with their "
                 "gradient; what a run keeps beyond that is not counted"};
  return table;
}

std::vector<const SwapRun*> runs_of(const VisionSwapResult& r, std::string_view tower) {
  std::vector<const SwapRun*> out;
  for (const auto& run : r.runs)
    if (run.tower == tower) out.push_back(&run);
  expect(!out.empty(), "C.2.swap: no run with ", tower);
  return out;
}

double accuracy(const SwapRun& run) {
  expect(!run.scores.empty(), "C.2.swap: a run with ", run.tower, " answered nothing");
  return over_seeds(run.scores).mean;
}

std::vector<double> accuracies(const VisionSwapResult& r, std::string_view tower) {
  std::vector<double> out;
  for (const auto* run : runs_of(r, tower)) out.push_back(accuracy(*run));
  return out;
}

Table swap_table(const VisionSwapResult& r) {
  Table table{.title = "C.2: two vision models under the same budget of steps and questions",
              .columns = {"vision model", "its parameters", "a picture becomes", "trained parameters",
                          "accuracy, %"}};
  for (const auto tower : experiments::kTowers) {
    const auto& first = *runs_of(r, tower).front();
    const auto s = over_seeds(accuracies(r, tower));
    table.rows.push_back({std::string(tower), with_commas(first.tower_parameters),
                          std::to_string(first.tokens) + " x " + std::to_string(first.width),
                          with_commas(first.parameters),
                          percent(s.mean) + (s.n > 1 ? " ± " + percent(s.standard_error) : "")});
  }
  table.rows.push_back({"majority answer, no picture", "–", "–", "–", percent(r.majority)});
  table.notes = {
      "the ViT was trained here on the questions themselves, EfficientNet-Lite0 on ImageNet by its "
      "publishers; both are frozen",
      "± one standard error over seeds"};
  return table;
}

Figure swap_figure(const VisionSwapResult& r) {
  LinePlot plot{.title = "Training behind each vision model", .x_label = "optimizer step", .y_label = "loss"};
  for (const auto tower : experiments::kTowers) {
    std::vector<std::vector<double>> curves;
    for (const auto* run : runs_of(r, tower)) curves.push_back(moving_average(run->losses, 9));
    plot.series.push_back(band_of(curves, evenly(curves.front().size()), std::string(tower)));
  }
  return {to_svg(plot), "Smoothed over 9 steps; means over seeds, bands from the lowest to the highest."};
}

Table bias_table(const BiasVlStereosetResult& r, const std::vector<VlStereoSetScore>& scores) {
  Table table{.title = "C.2: VL-StereoSet's scores in %, " + std::to_string(r.data.size()) +
                       " pictures of a fixture in its format",
              .columns = {"asked with", "relevance (vlrs)", "bias (vlbs)", "ability (ivlas)", "pictures"}};
  for (std::size_t i = 0; i < scores.size(); ++i)
    table.rows.push_back({r.answered[i].name, percent(scores[i].vlrs), percent(scores[i].vlbs),
                          percent(scores[i].ivlas), std::to_string(scores[i].picked)});
  table.notes = {
      "stereotype: the colour that a shape has most often in training; unrelated: the shape's name",
      "a fair model never picks the stereotype where the picture shows the opposite: vlbs 0"};
  return table;
}

}  // namespace

RowResult memory_row(const experiments::Pubmedqa12Gb& e, const experiments::Pubmedqa12GbResult& r) {
  expect(r.needs.size() == 2, "C.1: expected fp32 and bf16, found ", r.needs.size(), " dtypes");
  Report report{.name = "C.1", .scale = "mini", .parameters = to_json(e)};
  const auto card = static_cast<std::int64_t>(e.card_gib * (1 << 30));
  for (const auto& n : r.needs) {
    report.metrics.push_back(
        {.name = "least_bytes." + n.dtype, .value = static_cast<double>(n.total()), .unit = "B"});
  }
  const MemoryNeed &fp32 = r.needs[0], &bf16 = r.needs[1];
  RowResult out{.row = paper_row("C.1"), .report = std::move(report), .table = memory_table(r)};
  out.row.checks = {exactly("parameters of OpenLLaMA-3B", r.language_parameters, kOpenLlama3b),
                    exactly("bf16 weights take half of fp32's", 2 * bf16.language, fp32.language)};
  out.row.checks.push_back(skipped("peak memory and step time under the cap", where_measured()));
  const bool fits = fp32.total() <= card, fits16 = bf16.total() <= card;
  out.row.verdict = fits ? Verdict::contradicted : Verdict::reproduced;
  out.row.evidence = "In fp32 the language model's weights alone take " + gib(fp32.language) + " of " +
                     fixed(e.card_gib, 2) + " GiB" + (fits ? "" : ", so that no batch size fits") +
                     ". With frozen weights in bf16 training needs at least " + gib(bf16.total()) + " GiB" +
                     (fits16 ? ", which leaves " + gib(card - bf16.total()) + " GiB for what is kept of " +
                                   std::to_string(e.rows) + " x " + std::to_string(e.tokens) + " tokens"
                             : "") +
                     ". Counted, not measured: " + where_measured() + ".";
  out.page = row_page(out, "Does OpenLLaMA-3B fit in 12 GB? Row C.1",
                      "Counted from the shapes of the paper's model, without memory for them.", {out.table});
  return out;
}

RowResult vision_row(const experiments::VisionSwap& e, const VisionSwapResult& r) {
  const auto vit = accuracies(r, experiments::kTowers[0]), net = accuracies(r, experiments::kTowers[1]);
  const Statement below =
      judge_below("accuracy: the ViT below EfficientNet-Lite0", minus(vit, net, "C.2.swap"));
  Report report{.name = "C.2.swap", .scale = "mini", .parameters = to_json(e)};
  for (const auto tower : experiments::kTowers)
    report.metrics.push_back({.name = "accuracy." + std::string(tower),
                              .value = over_seeds(accuracies(r, tower)).mean,
                              .n = std::ssize(vit)});
  report.metrics.push_back({.name = "accuracy.majority", .value = r.majority});
  RowResult out{.row = paper_row("C.2.swap"), .report = std::move(report), .table = swap_table(r)};
  for (const auto tower : experiments::kTowers)
    for (const auto* run : runs_of(r, tower))
      out.add_seed(run->seed, "accuracy." + std::string(tower), accuracy(*run));
  const auto& first = *runs_of(r, experiments::kTowers[0]).front();
  std::vector<double> guess(first.scores.size(), 0);
  out.row.checks.push_back(
      ordered("seeing: the ViT's model has right answers", paired_counts(guess, first.scores)));
  out.row.verdict = Verdict::not_decidable;
  out.row.evidence = "The paper claims no number. Here the ViT's accuracy minus EfficientNet-Lite0's is " +
                     difference_text(below, 3) +
                     ": the swap is one type, and a tower trained on such pictures is compared with one "
                     "trained on photographs.";
  out.page =
      scale_page(out, "Another vision model?",
                 "VLM<ClipViT, Perceiver, OpenLLaMA> beside VLM<EfficientNetLite0, Perceiver, OpenLLaMA>.",
                 {out.table, Figures{{swap_figure(r)}}});
  return out;
}

RowResult bias_row(const experiments::BiasVlStereoset& e, const BiasVlStereosetResult& r) {
  std::vector<VlStereoSetScore> scores;
  Report report{.name = "C.2.bias", .scale = "mini", .parameters = to_json(e)};
  for (const auto& a : r.answered) {
    scores.push_back(vl_stereoset_score(r.data, a.picks));
    const auto& s = scores.back();
    for (const auto& [name, value] :
         {std::pair{"vlrs.", s.vlrs}, std::pair{"vlbs.", s.vlbs}, std::pair{"ivlas.", s.ivlas}})
      report.metrics.push_back({.name = name + a.name, .value = value, .n = s.picked});
  }
  expect(scores.size() == 2, "C.2.bias: expected answers with and without pictures, found ", scores.size());
  RowResult out{.row = paper_row("C.2.bias"), .report = std::move(report), .table = bias_table(r, scores)};
  for (std::size_t i = 0; i < scores.size(); ++i) {
    out.add_seed(0, "vlrs." + r.answered[i].name, scores[i].vlrs);
    out.add_seed(0, "vlbs." + r.answered[i].name, scores[i].vlbs);
  }
  out.row.checks = {
      exactly("pictures that got an answer", scores[0].picked + scores[1].picked, 2 * std::ssize(r.data)),
      skipped("scores on the real file at paper scale", "needs VLStereoSet.csv (program evaluate)")};
  out.row.verdict = Verdict::not_decidable;
  out.row.evidence = "The paper gives no number. On the fixture the small model picks the stereotype for " +
                     percent(scores[0].vlbs) + " % of the pictures that show the opposite, and for " +
                     percent(scores[1].vlbs) + " % when it does not see them.";
  out.page =
      scale_page(out, "How biased?", "VL-StereoSet's scores on a small fixture in its format.", {out.table});
  return out;
}

}  // namespace morphvlm::repro
