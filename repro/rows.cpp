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
#include "repro/paper.hpp"
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
  const auto biogpt = once<experiments::BioGPTConvergenceResult>([&s] { return experiments::run(s.biogpt); });
  const auto of_biogpt = [=, &s](auto row) {
    return [=, &s] { return row(s.biogpt, biogpt(), published, "mini"); };
  };
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

// An experiment's settings as they were at paper scale, and what came out.
template <class Setting, class Result>
struct OnPaper {
  Setting setting = {};
  Result result = {};
};

// Real weights and data. What needs none of these is the same at mini scale, and what no published weights
// are there for is not here.
std::vector<RowRunner> paper_rows(const Settings& s, const std::filesystem::path& source) {
  using namespace experiments;
  const PaperScale& p = s.on_paper;
  const auto published = source / "repro/published";
  using BioGPT = OnPaper<BioGPTConvergence, BioGPTConvergenceResult>;
  const auto biogpt = once<BioGPT>([&s, &p] {
    BioGPT out{.setting = s.biogpt};
    out.result = biogpt_on_paper(p, out.setting);
    return out;
  });
  const auto of_biogpt = [=](auto row) {
    return [=] { return row(biogpt().setting, biogpt().result, published, "paper"); };
  };
  const auto schedules = [&s, &p, published] {
    LrSchedules setting = s.schedules;
    const auto result = schedules_on_paper(p, setting);
    return schedule_loss_row(setting, result, published, "paper");
  };
  const auto with = [&p](std::initializer_list<const char*> folders, const char* model) {
    std::string missing = reason_to_skip(p, folders);
    // Without blocks of its own, captions have to teach it some.
    if (missing.empty() && !has_own_blocks(p, model)) missing = reason_to_skip(p, {"coco"});
    return missing;
  };
  const auto llama = with({kOpenLlama, "aokvqa"}, kOpenLlama);
  const auto bio = with({kBioGpt, "aokvqa", "pubmedqa"}, kBioGpt);
  // Minutes are those of an H100, guessed: nothing of this was timed.
  const std::filesystem::path out = p.out;
  return {{"T1.baseline",
           {out / "baseline"},
           60,
           [&p] { return paper_baseline_row(p, baseline_on_paper(p)); },
           reason_to_skip(p, {kOpenFlamingo, "vqav2"})},
          {"T1.aokvqa",
           {out / "aokvqa"},
           90,
           [&p] { return paper_aokvqa_row(p, aokvqa_on_paper(p)); },
           with({kOpenLlama, "aokvqa", "vqav2"}, kOpenLlama)},
          {"T1.bio", {out / "biogpt"}, 60, of_biogpt(biogpt_table_row), bio},
          {"F2.loss", {out / "schedules"}, 30, schedules, llama},
          {"F3.loss",
           {out / "placement"},
           5,
           [&p] { return paper_placement_row(p, placement_on_paper(p)); },
           llama},
          {"F4.time", {out / "biogpt"}, 0.05, of_biogpt(biogpt_time_row), bio},
          {"F4.step", {out / "biogpt"}, 0.05, of_biogpt(biogpt_step_row), bio},
          {"C.2.bias",
           {out / "bias"},
           10,
           [&p] { return paper_bias_row(p, bias_on_paper(p)); },
           reason_to_skip(p, {kOpenFlamingo, "vl-stereoset"})}};
}

}  // namespace

std::vector<RowRunner> rows_of(const Settings& s, const std::filesystem::path& source) {
  switch (s.scale) {
    case Scale::device:
      return device_rows(s, source);
    case Scale::paper:
      return paper_rows(s, source);
    case Scale::mini:
      break;
  }
  return mini_rows(s, source);
}

}  // namespace morphvlm::repro
