#include "repro/device_placement.hpp"

#include <algorithm>
#include <cmath>
#include <string>
#include <string_view>
#include <utility>

#include "repro/curves.hpp"
#include "repro/device.hpp"
#include "repro/figure3.hpp"
#include "repro/paper_counts.hpp"
#include "repro/published.hpp"
#include "repro/row_page.hpp"

namespace morphvlm::repro {

namespace {

using experiments::DeviceScale;
using experiments::DeviceStep;
using experiments::PlacementSteps;
using experiments::Sizes;

constexpr double kMegabyte = 1e6;

const DeviceStep& step_of(const std::vector<PlacementSteps>& runs, std::string_view placement, bool live) {
  const auto it = std::ranges::find_if(
      runs, [&](const auto& r) { return r.placement == placement && r.live_gates == live; });
  expect(it != runs.end(), "F3: no run of placement \"", placement, "\" with gates ", live ? "open" : "shut");
  return it->step;
}

std::vector<DeviceStep> steps_with(const std::vector<PlacementSteps>& runs, bool live) {
  std::vector<DeviceStep> out;
  for (const auto& run : runs)
    if (run.live_gates == live) out.push_back(run.step);
  return out;
}

double furthest(const std::vector<double>& a, const std::vector<double>& b) {
  expect(a.size() == b.size(), "F3: ", a.size(), " steps of one run and ", b.size(), " of the other");
  double most = 0;
  for (std::size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] / b[i] - 1));
  return most;
}

std::vector<DeviceStep> all_steps(const std::vector<PlacementSteps>& runs) {
  auto out = steps_with(runs, true);
  for (auto& step : steps_with(runs, false)) out.push_back(std::move(step));
  return out;
}

// Sums on a card may be taken in another order each time.
double rounding_of(const DeviceScale& d) { return d.device == "cpu" ? 0 : 1e-3; }

void add_run_checks(Row& row, const DeviceScale& d, const PlacementSteps& run) {
  for (auto& check : card_checks(d, run.step)) {
    check.what += run.live_gates ? ", gates open" : ", gates shut";
    // Adapters of gated blocks have no gradient behind shut gates.
    if (!run.live_gates && run.placement == "CrossAttn" && check.what.starts_with("last loss")) {
      const auto& losses = run.step.losses;
      check = at_most("move of the loss without a gradient, relative: " + run.placement,
                      furthest(losses, std::vector(losses.size(), losses.front())), rounding_of(d));
    }
    row.checks.push_back(std::move(check));
  }
}

std::string megabytes(double bytes) { return fixed(bytes / kMegabyte, 1); }

// What is left after each step, relative to the first of the leaner run: a line for each placement.
Figure memory_figure(const std::vector<PlacementSteps>& runs) {
  LinePlot plot{
      .title = "Tensors on the device after each step", .x_label = "step", .y_label = "MB above Attn"};
  const double zero = step_of(runs, kAttention, true).bytes.front();
  for (const char* placement : {kAll, kAttention}) {
    Series series{.label = placement, .dashed = placement == std::string_view(kAttention)};
    const auto& bytes = step_of(runs, placement, true).bytes;
    series.x = evenly(bytes.size());
    for (const double b : bytes) series.y.push_back((b - zero) / kMegabyte);
    plot.series.push_back(std::move(series));
  }
  return {to_svg(plot), "Relative to what the run without feed-forward adapters holds after its first step."};
}

Table memory_table(const std::vector<PlacementSteps>& runs) {
  Table table{.title = "F3.memory: MB after a step, and the most during one",
              .columns = {"placement", "after the first", "after the last", "most, first", "most, last",
                          "host, first", "host, last"}};
  for (const auto& run : runs) {
    const DeviceStep& s = run.step;
    if (!run.live_gates || !s.fits) continue;
    table.rows.push_back({run.placement, megabytes(s.bytes.front()), megabytes(s.bytes.back()),
                          megabytes(s.peaks.front()), megabytes(s.peaks.back()), megabytes(s.host.front()),
                          megabytes(s.host.back())});
  }
  table.notes = {
      "of tensors on the device, gates half open; host: resident memory of the process, which ran "
      "the placements one after the other"};
  return table;
}

}  // namespace

RowResult device_placement_loss_row(const DeviceScale& d, const std::vector<PlacementSteps>& runs) {
  RowResult out = begin_device_row(
      "F3.loss", d,
      card_table("F3: OpenLLaMA-3B, LoRA by placement, gates half open", steps_with(runs, true)));
  if (d.sizes == Sizes::paper) {
    out.row.checks = {
        exactly("trained with the feed-forward blocks", step_of(runs, kAll, true).trained, kCountAll),
        exactly("trained without them", step_of(runs, kAttention, true).trained, kCountAttention)};
  }
  for (const auto& run : runs) add_run_checks(out.row, d, run);
  for (const auto& step : steps_with(runs, true)) add_card_metrics(out, step);
  if (!all_fit(out, all_steps(runs))) return out;
  const double apart = furthest(step_of(runs, kAll, false).losses, step_of(runs, kAttention, false).losses);
  out.row.checks.push_back(
      at_most("losses with and without them apart behind shut gates, relative", apart, rounding_of(d)));
  const auto& all = step_of(runs, kAll, true).losses;
  const auto differ = points_apart(all, step_of(runs, kAttention, true).losses);
  out.row.checks.push_back(at_most("steps at which they agree behind open ones, the first aside",
                                   static_cast<double>(std::ssize(all) - 1 - differ), 0));
  out.report.metrics.push_back({.name = "apart_behind_shut_gates", .value = apart});
  out.row.evidence =
      "Random rows teach nothing that decides it. Behind gates that are 0 the losses with and without the "
      "feed-forward adapters are the same " +
      std::string(apart == 0 ? "to the last bit" : "but for rounding") +
      ", behind half open ones they part after the first step.";
  out.page = scale_page(out, "Does LoRA need the feed-forward blocks?", out.report.notes.front() + ".",
                        {out.table, card_table("Gates shut", steps_with(runs, false))});
  return out;
}

RowResult device_placement_memory_row(const DeviceScale& d, const std::vector<PlacementSteps>& runs,
                                      const std::filesystem::path& published) {
  RowResult out = begin_device_row("F3.memory", d, memory_table(runs));
  for (const auto& step : steps_with(runs, true)) add_card_metrics(out, step);
  if (!all_fit(out, steps_with(runs, true))) {
    out.row.checks = {skipped("memory after each step", out.row.evidence)};
    return out;
  }
  const DeviceStep &all = step_of(runs, kAll, true), &attention = step_of(runs, kAttention, true);
  // fp32 weight, gradient and AdamW's two moments.
  const double expected = 16.0 * static_cast<double>(all.trained - attention.trained);
  const double first = all.bytes.front() - attention.bytes.front(),
               last = all.bytes.back() - attention.bytes.back();
  for (const auto& [name, value] : {std::pair{"first", first}, std::pair{"last", last}}) {
    out.row.checks.push_back(
        at_most("what the feed-forward adapters take after the " + std::string(name) + " step, off by",
                std::abs(value / expected - 1), 0.01));
    out.report.metrics.push_back(
        {.name = "feed_forward_adapters." + std::string(name), .value = value, .unit = "B"});
    out.add_seed(0, "feed_forward_adapters." + std::string(name), value);
  }
  const bool starts_lower = first > 0, same_level = std::abs(last) < first / 2;
  if (d.sizes == Sizes::paper)
    out.row.verdict = starts_lower && same_level ? Verdict::reproduced : Verdict::contradicted;
  out.row.evidence = "On the device the run without the feed-forward adapters holds " + megabytes(first) +
                     " MB less after the first step and " + megabytes(last) +
                     " MB less after the last: their weights, gradients and moments, from beginning to end. "
                     "The published plot is of the host's memory, where nothing of them lives.";
  out.page = scale_page(
      out, "What do adapters take?", out.report.notes.front() + ".",
      {out.table, Figures{{memory_figure(runs),
                           published_placements(read_published(published / "fig3_memory.csv"),
                                                "Published: host memory", "minutes", "MB", " (raw)")}}});
  return out;
}

}  // namespace morphvlm::repro
