#include "repro/rows.hpp"

#include <memory>
#include <optional>
#include <utility>

#include "repro/conclusion.hpp"
#include "repro/device.hpp"
#include "repro/device_placement.hpp"
#include "repro/figure2.hpp"
#include "repro/figure2_loss.hpp"
#include "repro/figure3.hpp"
#include "repro/figure4.hpp"
#include "repro/table1.hpp"
#include "repro/table1_baseline.hpp"

namespace morphvlm::repro {

namespace {

// Rows that share an experiment run it once.
template <class Result, class Make>
auto once(Make make) {
  return [make, kept = std::make_shared<std::optional<Result>>()]() -> const Result& {
    if (!*kept) *kept = make();
    return **kept;
  };
}

std::vector<RowRunner> mini_rows(const Settings& s, const std::filesystem::path& source) {
  const auto published = source / "repro/published", small = s.out / "small";
  const auto biogpt = once<experiments::BioGptConvergenceResult>([&s] { return experiments::run(s.biogpt); });
  const auto of_biogpt = [=, &s](auto row) { return [=, &s] { return row(s.biogpt, biogpt(), published); }; };
  const std::filesystem::path bio = small / "biogpt-convergence";
  // Minutes are those of the reduced suite on two cores, the small models' training in the first that needs
  // it.
  return {
      {"T1.baseline",
       {small / "baseline"},
       4.0,
       [&s] { return baseline_row(s.baseline, experiments::run(s.baseline)); }},
      {"T1.aokvqa", {s.aokvqa.out}, 6.0, [&s] { return aokvqa_row(s.aokvqa, experiments::run(s.aokvqa)); }},
      {"T1.bio", {bio}, 3.0, of_biogpt(biogpt_table_row)},
      {"F2.lr", {}, 0.05, [=] { return learning_rate_row(published_schedules(), published); }},
      {"F2.loss",
       {small / "schedules"},
       4.0,
       [=, &s] { return schedule_loss_row(s.schedules, experiments::run(s.schedules), published); }},
      {"F3.loss",
       {small / "placement"},
       1.5,
       [=, &s] { return placement_loss_row(s.placement, experiments::run(s.placement), published); }},
      {"F3.memory", {}, 0.05, [=] { return placement_memory_row(published); }},
      {"F4.time", {bio}, 0.05, of_biogpt(biogpt_time_row)},
      {"F4.step", {bio}, 0.05, of_biogpt(biogpt_step_row)},
      {"C.1", {}, 0.05, [&s] { return memory_row(s.memory, experiments::run(s.memory)); }},
      {"C.2.swap", {small / "swap"}, 2.0, [&s] { return vision_row(s.vision, experiments::run(s.vision)); }},
      {"C.2.bias", {small / "stereoset"}, 0.3, [&s] { return bias_row(s.bias, experiments::run(s.bias)); }}};
}

// Full-size models with random weights. What Figure 2 says of schedules and what models learn does not depend
// on a device.
std::vector<RowRunner> device_rows(const Settings& s, const std::filesystem::path& source) {
  using namespace experiments;
  const DeviceScale& d = s.on_device;
  const auto published = source / "repro/published";
  const auto placement = once<std::vector<PlacementSteps>>([&d] { return placement_steps(d); });
  std::vector<RowRunner> rows{
      {"T1.baseline", {}, 0.5, [&d] { return device_baseline_row(d, ask_by_shots(d)); }},
      {"T1.aokvqa", {}, 0.5, [&d] { return device_aokvqa_row(d, aokvqa_steps(d)); }},
      {"F3.loss", {}, 2.0, [=, &d] { return device_placement_loss_row(d, placement()); }},
      {"F3.memory", {}, 0.05, [=, &d] { return device_placement_memory_row(d, placement(), published); }},
      {"F4.time", {}, 0.5, [&d] { return device_biogpt_row(d, biogpt_steps(d)); }},
      {"C.1", {}, 1.0, [&s, &d] { return device_memory_row(s.memory, d, run_on_card(s.memory, d)); }},
      {"C.2.swap", {}, 0.5, [&d] { return device_swap_row(d, swap_steps(d)); }}};
  for (auto& row : rows) row.missing = reason_to_skip(d);
  return rows;
}

}  // namespace

std::vector<RowRunner> rows_of(const Settings& s, const std::filesystem::path& source) {
  return s.scale == Scale::device ? device_rows(s, source) : mini_rows(s, source);
}

}  // namespace morphvlm::repro
