#include "repro/figure4.hpp"

#include <cmath>
#include <map>
#include <utility>

#include "morphvlm/report/convergence.hpp"
#include "repro/curves.hpp"
#include "repro/equivalence.hpp"
#include "repro/paper_claims.hpp"
#include "repro/published.hpp"
#include "repro/row_page.hpp"

namespace morphvlm::repro {

namespace {

using experiments::BioGPTConvergence;
using experiments::BioGPTConvergenceResult;
using experiments::FinetuneRun;

constexpr const char *kPictures = "AOKVQA only", *kCombined = "PubMed + AOKVQA";
constexpr double kPaperPictures = 65, kPaperCombined = 105;  // minutes to converge
constexpr std::int64_t kWindow = ConvergenceConfig{}.window;

/// One seed's two runs.
struct Pair {
  std::int64_t seed = 0;
  const FinetuneRun *combined = nullptr, *pictures = nullptr;
};

std::vector<Pair> pairs_of(const BioGPTConvergenceResult& r) {
  std::map<std::int64_t, Pair> by_seed;
  for (const auto& run : r.runs) {
    Pair& pair = by_seed[run.seed];
    pair.seed = run.seed;
    (run.combined ? pair.combined : pair.pictures) = &run.run;
  }
  std::vector<Pair> out;
  for (const auto& [seed, pair] : by_seed) {
    expect(pair.combined && pair.pictures, "F4: seed ", seed, " lacks a run with ",
           pair.combined ? "pictures alone" : "both kinds of data");
    expect(!pair.combined->flops.empty() && !pair.pictures->flops.empty(), "F4: a run of seed ", seed,
           " has no steps");
    out.push_back(pair);
  }
  expect(!out.empty(), "F4: no runs");
  return out;
}

// What a run's own loss curve is: over both kinds of data each kind's mean over supervised tokens counts the
// same.
std::vector<double> own_loss(const FinetuneRun& run, bool combined) {
  std::vector<double> out = run.vision_loss;
  if (combined)
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = (out[i] + run.medical_loss.at(i)) / 2;
  return out;
}

/// Where a run has converged, in all units.
struct Cost {
  double steps = 0, flops = 0, seconds = 0;
};

Cost cost_to_converge(const FinetuneRun& run, bool combined) {
  const auto i = static_cast<std::size_t>(convergence(own_loss(run, combined)).index);
  return {static_cast<double>(i + 1), run.flops.at(i), run.history.at(i).seconds};
}

double smooth_at(const std::vector<double>& losses, std::int64_t index) {
  const auto smooth = moving_average(losses, kWindow);
  return smooth.at(static_cast<std::size_t>(std::max<std::int64_t>(0, index)));
}

// The last step that a budget of FLOPs pays for.
std::int64_t step_within(const FinetuneRun& run, double flops) {
  std::int64_t i = 0;
  while (i + 1 < std::ssize(run.flops) && run.flops[static_cast<std::size_t>(i + 1)] <= flops) ++i;
  return i;
}

enum class Equal { steps, flops, samples };

// The step of the combined run that stands beside the other's last one.
std::int64_t combined_step(const Pair& pair, Equal what, const BioGPTConvergence& e) {
  const auto last = std::min(std::ssize(pair.pictures->flops), std::ssize(pair.combined->flops)) - 1;
  if (what == Equal::steps) return last;
  if (what == Equal::flops)
    return step_within(*pair.combined, pair.pictures->flops[static_cast<std::size_t>(last)]);
  return (last + 1) * e.batch / (e.batch + e.medical_batch) - 1;
}

template <class F>
std::vector<double> each(const std::vector<Pair>& pairs, F&& value) {
  std::vector<double> out;
  for (const auto& pair : pairs) out.push_back(value(pair));
  return out;
}

// log(pictures alone / combined) of the cost to converge, one a seed.
std::vector<double> log_ratios(const std::vector<Pair>& pairs, double Cost::*unit) {
  return each(pairs, [&](const Pair& p) {
    return std::log(cost_to_converge(*p.pictures, false).*unit / cost_to_converge(*p.combined, true).*unit);
  });
}

// How much lower the loss on pictures is with combined data than with pictures alone.
std::vector<double> picture_gap(const std::vector<Pair>& pairs, Equal what, const BioGPTConvergence& e) {
  return each(pairs, [&](const Pair& p) {
    return smooth_at(p.combined->vision_loss, combined_step(p, what, e)) -
           smooth_at(p.pictures->vision_loss, std::ssize(p.pictures->vision_loss) - 1);
  });
}

std::string ratio_text(const std::vector<Pair>& pairs, double Cost::*unit) {
  const auto logs = log_ratios(pairs, unit);
  const auto mean = std::exp(over_seeds(logs).mean);
  if (std::ssize(logs) < kSeedsToDecide) return fixed(mean, 2) + " (too few seeds for an interval)";
  const auto interval = seed_interval(logs, 0.95);
  return fixed(mean, 2) + " (95 % interval " + fixed(std::exp(interval.low), 2) + " to " +
         fixed(std::exp(interval.high), 2) + ")";
}

/// A published curve's own point of convergence: the drawn points are smoothed already.
double published_convergence(const Series& curve) {
  const auto c = convergence(curve.y, {.window = 1});
  return curve.x[static_cast<std::size_t>(c.index)];
}

double value_at(const Series& curve, double x) {
  for (std::size_t i = 1; i < curve.x.size(); ++i) {
    if (curve.x[i] < x) continue;
    const double share = (x - curve.x[i - 1]) / (curve.x[i] - curve.x[i - 1]);
    return curve.y[i - 1] + share * (curve.y[i] - curve.y[i - 1]);
  }
  return curve.y.back();
}

Table cost_table(const BioGPTConvergence& e, const std::vector<Pair>& pairs, const std::string& scale) {
  Table table{.title = "T1.bio: cost to converge at " + scale + " scale, means over " +
                       std::to_string(e.seeds) + " seed" + (e.seeds == 1 ? "" : "s"),
              .columns = {"data", "steps", "TFLOP", "seconds", "paper, minutes"}};
  const auto line = [&](const char* name, bool combined, double paper) {
    const auto of = [&](double Cost::*unit, double one, int digits) {
      return mean_text(each(pairs,
                            [&](const Pair& p) {
                              return cost_to_converge(combined ? *p.combined : *p.pictures, combined).*unit /
                                     one;
                            }),
                       digits);
    };
    table.rows.push_back(
        {name, of(&Cost::steps, 1, 1), of(&Cost::flops, 1e12, 2), of(&Cost::seconds, 1, 1), fixed(paper, 0)});
  };
  line("medical texts and pictures", true, kPaperCombined);
  line("pictures alone", false, kPaperPictures);
  table.rows.push_back({"ratio, alone to both", ratio_text(pairs, &Cost::steps),
                        ratio_text(pairs, &Cost::flops), ratio_text(pairs, &Cost::seconds),
                        fixed(kPaperPictures / kPaperCombined, 2)});
  const ConvergenceConfig c;
  table.notes = {"converged: from this step on the run's own loss, smoothed over " +
                     std::to_string(c.window) + " steps, stays within " + fixed(100 * c.tolerance, 0) +
                     " % of its final value",
                 "seconds are what this machine took beside other work; FLOPs decide"};
  return table;
}

Table loss_table(const BioGPTConvergence& e, const std::vector<Pair>& pairs) {
  Table table{.title = "F4: loss by kind of data, a mean over supervised tokens",
              .columns = {"run, data", "equal steps", "equal FLOPs", "equal samples"}};
  const auto line = [&](const char* name, const std::function<double(const Pair&, Equal)>& value) {
    std::vector<std::string> row{name};
    for (const auto what : {Equal::steps, Equal::flops, Equal::samples})
      row.push_back(mean_text(each(pairs, [&](const Pair& p) { return value(p, what); }), 4));
    table.rows.push_back(std::move(row));
  };
  line("pictures alone, pictures", [](const Pair& p, Equal) {
    return smooth_at(p.pictures->vision_loss, std::ssize(p.pictures->vision_loss) - 1);
  });
  line("both, pictures", [&](const Pair& p, Equal what) {
    return smooth_at(p.combined->vision_loss, combined_step(p, what, e));
  });
  line("both, medical texts", [&](const Pair& p, Equal what) {
    return smooth_at(p.combined->medical_loss, combined_step(p, what, e));
  });
  line("both, the mixture", [&](const Pair& p, Equal what) {
    return smooth_at(own_loss(*p.combined, true), combined_step(p, what, e));
  });
  table.notes = {
      "the run on pictures alone is read at its end, the other where it has made as many steps, "
      "spent as many FLOPs or seen as many rows"};
  return table;
}

Figure loss_figure(const std::vector<Pair>& pairs, bool against_flops) {
  LinePlot plot{.title = against_flops ? "Loss against FLOPs" : "Loss against steps",
                .x_label = against_flops ? "TFLOP" : "optimizer step",
                .y_label = "loss, smoothed"};
  const auto add = [&](const char* label, bool combined, auto&& losses) {
    std::vector<std::vector<double>> curves;
    for (const auto& p : pairs)
      curves.push_back(moving_average(losses(combined ? *p.combined : *p.pictures), kWindow));
    std::vector<double> x = evenly(curves.front().size());
    if (against_flops) {
      x = combined ? pairs.front().combined->flops : pairs.front().pictures->flops;
      for (auto& flops : x) flops /= 1e12;
    }
    plot.series.push_back(band_of(curves, x, label));
  };
  add("pictures alone", false, [](const FinetuneRun& run) { return run.vision_loss; });
  add("both: pictures", true, [](const FinetuneRun& run) { return run.vision_loss; });
  add("both: medical texts", true, [](const FinetuneRun& run) { return run.medical_loss; });
  return {to_svg(plot), "Means over seeds, bands from the lowest to the highest."};
}

Figure published_figure(const std::map<std::string, Series>& curves, const char* x) {
  LinePlot plot{.title = "Published", .x_label = x, .y_label = "loss, smoothed"};
  for (const char* name : {kPictures, kCombined}) plot.series.push_back(published_curve(curves, name));
  return {to_svg(plot), "As published."};
}

Report report_of(const std::string& name, const BioGPTConvergence& e, const std::vector<Pair>& pairs,
                 const std::string& scale) {
  Report report{.name = name, .scale = scale, .parameters = to_json(e)};
  const auto n = std::ssize(pairs);
  const auto add = [&](const std::string& metric, const std::vector<double>& values,
                       const std::string& unit = "") {
    report.metrics.push_back({.name = metric, .value = over_seeds(values).mean, .n = n, .unit = unit});
  };
  add("flops_to_converge.pictures",
      each(pairs, [](const Pair& p) { return cost_to_converge(*p.pictures, false).flops; }), "FLOP");
  add("flops_to_converge.combined",
      each(pairs, [](const Pair& p) { return cost_to_converge(*p.combined, true).flops; }), "FLOP");
  add("log_ratio_of_flops", log_ratios(pairs, &Cost::flops));
  add("picture_loss_gap.steps", picture_gap(pairs, Equal::steps, e));
  add("picture_loss_gap.flops", picture_gap(pairs, Equal::flops, e));
  add("picture_loss_gap.samples", picture_gap(pairs, Equal::samples, e));
  double flops = 0;
  for (const auto& p : pairs) flops += p.combined->flops.back() + p.pictures->flops.back();
  report.metrics.push_back({.name = "flops", .value = flops, .unit = "FLOP"});
  report.notes = {std::string(is_mini(scale) ? "a small BioGPT of the paper's type, trained here on PubMed "
                                               "abstracts; pictures of easy-VQA"
                                             : "the model folder of the assets; A-OKVQA and PubMedQA") +
                  "; the gap is both kinds of data minus pictures alone"};
  return report;
}

void add_seeds(RowResult& out, const std::vector<Pair>& pairs, const BioGPTConvergence& e) {
  for (const auto& p : pairs) {
    out.add_seed(p.seed, "flops_to_converge.pictures", cost_to_converge(*p.pictures, false).flops);
    out.add_seed(p.seed, "flops_to_converge.combined", cost_to_converge(*p.combined, true).flops);
    const std::vector<Pair> one{p};
    out.add_seed(p.seed, "picture_loss_gap.steps", picture_gap(one, Equal::steps, e).front());
    out.add_seed(p.seed, "picture_loss_gap.flops", picture_gap(one, Equal::flops, e).front());
  }
}

std::vector<double> negated(std::vector<double> values) {
  for (auto& v : values) v = -v;
  return values;
}

// A row but for its verdict and its page.
RowResult begin_row(const std::string& id, const BioGPTConvergence& e, const BioGPTConvergenceResult& r,
                    const std::vector<Pair>& pairs, Table table, const std::string& scale) {
  Report report = report_of(id, e, pairs, scale);  // before the result, for GCC 12 (see figure3.cpp)
  RowResult out{.row = paper_row(id), .report = std::move(report), .table = std::move(table)};
  out.row.checks.push_back(repeat_check(r.runs.at(0).run, r.repeated));
  add_seeds(out, pairs, e);
  return out;
}

void end_row(RowResult& out, const std::string& title, std::span<const Statement> statements,
             Figures figures) {
  const std::string& scale = out.report.scale;
  out.row.verdict = verdict_of_all(statements);
  out.page = row_page(
      out, title + " at " + scale + " scale",
      std::string(is_mini(scale) ? "A small BioGPT, pre-trained here on PubMed abstracts," : "BioGPT-Large") +
          " is fine-tuned on questions about pictures, alone or together with medical texts.",
      {statements_table("The claim, one comparison a line", statements, 4), out.table, std::move(figures)});
}

}  // namespace

RowResult biogpt_table_row(const BioGPTConvergence& e, const BioGPTConvergenceResult& r,
                           const std::filesystem::path& published, const std::string& scale) {
  const auto curves = read_published(published / "fig4_loss_time.csv");
  const auto pairs = pairs_of(r);
  const double alone = published_convergence(published_curve(curves, kPictures)),
               both = published_convergence(published_curve(curves, kCombined));
  RowResult out = begin_row("T1.bio", e, r, pairs, cost_table(e, pairs, scale), scale);
  constexpr double kReadingError = 5;  // minutes; the points are as far apart
  out.row.checks.push_back(
      at_most("minutes at which the published A-OKVQA curve stays within 5 % of its "
              "end, away from 207",
              std::abs(alone - 207), kReadingError));
  out.row.checks.push_back(
      at_most("the same of the combined curve, away from 272", std::abs(both - 272), kReadingError));
  const std::vector<Statement> statements{
      judge_below("log of FLOPs to converge: pictures alone before both", log_ratios(pairs, &Cost::flops))};
  out.row.evidence = "FLOPs to converge, pictures alone to both: " + ratio_text(pairs, &Cost::flops) +
                     ", steps " + ratio_text(pairs, &Cost::steps) + "; the paper's minutes give " +
                     fixed(kPaperPictures / kPaperCombined, 2) +
                     ". By the same definition the paper's own curves converge at " + fixed(alone, 0) +
                     " and " + fixed(both, 0) + " minutes, not at 65 and 105.";
  end_row(out, "How soon does BioGPT converge? Rows T1.bio", statements,
          {{loss_figure(pairs, true), published_figure(curves, "minutes")}});
  return out;
}

RowResult biogpt_time_row(const BioGPTConvergence& e, const BioGPTConvergenceResult& r,
                          const std::filesystem::path& published, const std::string& scale) {
  const auto curves = read_published(published / "fig4_loss_time.csv");
  const auto pairs = pairs_of(r);
  RowResult out = begin_row("F4.time", e, r, pairs, loss_table(e, pairs), scale);
  const std::vector<Statement> statements{
      judge_below("log of FLOPs to converge: pictures alone before both", log_ratios(pairs, &Cost::flops)),
      judge_below("loss on pictures at equal FLOPs: pictures alone below both",
                  negated(picture_gap(pairs, Equal::flops, e)))};
  const Series &alone = published_curve(curves, kPictures), &both = published_curve(curves, kCombined);
  const auto at = [&](double minutes) {
    return fixed(value_at(alone, minutes), 2) + " and " + fixed(value_at(both, minutes), 2) + " at " +
           fixed(minutes, 0) + " minutes";
  };
  out.row.evidence =
      "FLOPs to converge, pictures alone to both: " + ratio_text(pairs, &Cost::flops) +
      "; loss on pictures at equal FLOPs, alone minus both: " + difference_text(statements[1], 4) +
      ". The published losses, alone and both, are " + at(65) + " and " + at(105) +
      "; each curve is over its own mixture of data.";
  end_row(out, "Faster in time? Row F4.time", statements,
          {{loss_figure(pairs, true), published_figure(curves, "minutes")}});
  return out;
}

RowResult biogpt_step_row(const BioGPTConvergence& e, const BioGPTConvergenceResult& r,
                          const std::filesystem::path& published, const std::string& scale) {
  const auto curves = read_published(published / "fig4_loss_step.csv");
  const auto pairs = pairs_of(r);
  RowResult out = begin_row("F4.step", e, r, pairs, loss_table(e, pairs), scale);
  const std::vector<Statement> statements{judge_below(
      "loss on pictures at equal steps: both below pictures alone", picture_gap(pairs, Equal::steps, e))};
  const auto mixture = each(pairs, [&](const Pair& p) {
    return smooth_at(own_loss(*p.combined, true), combined_step(p, Equal::steps, e)) -
           smooth_at(p.pictures->vision_loss, std::ssize(p.pictures->vision_loss) - 1);
  });
  out.row.evidence =
      "Loss on pictures at equal steps, both minus pictures alone: " + difference_text(statements[0], 4) +
      "; of the mixture, as the paper plots it, " + difference_text(judge_below("", mixture), 4) +
      ", which tells which text is easier and not which model is better.";
  end_row(out, "Lower against steps? Row F4.step", statements,
          {{loss_figure(pairs, false), published_figure(curves, "global step")}});
  return out;
}

}  // namespace morphvlm::repro
