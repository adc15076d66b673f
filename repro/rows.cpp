#include "repro/rows.hpp"

#include <memory>
#include <optional>
#include <utility>

#include "repro/conclusion.hpp"
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

}  // namespace

std::vector<RowRunner> rows_of(const Settings& s, const std::filesystem::path& source) {
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

}  // namespace morphvlm::repro
