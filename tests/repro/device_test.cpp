// The rows at device scale: from made-up results, since the real ones want a card.
#include "repro/device.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "repro/device_placement.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::device_test {
namespace {

using namespace repro;

using experiments::BioGPTSteps;
using experiments::CardTrial;
using experiments::DeviceAskingResult;
using experiments::DeviceScale;
using experiments::DeviceStep;
using experiments::PlacementSteps;
using experiments::Sizes;
using morphvlm::testing::message_of;

const std::filesystem::path kPublished = std::filesystem::path(MORPHVLM_SOURCE_DIR) / "repro/published";

DeviceStep made_up(const std::string& setting, double seconds = 0.1, std::int64_t trained = 11'558'912) {
  return {.setting = setting,
          .rows = 4,
          .tokens = 64,
          .trained = trained,
          .planned = 10'000'000'000,
          .fits = true,
          .peak = 10'100'000'000,
          .seconds = seconds,
          .losses = {10, 9.5, 9},
          .bytes = {9e9, 9e9, 9e9},
          .peaks = {1e10, 1e10, 1e10},
          .host = {1e9, 1e9, 1e9}};
}

std::int64_t failures(const RowResult& row) {
  return std::ranges::count(row.row.checks, Outcome::failed, &Check::outcome);
}

TEST(CardChecks, CatchAWrongPlanALossThatRisesAndWhatDoesNotFit) {
  const auto failed = [](auto&& change) {
    DeviceStep step = made_up("bf16");
    change(step);
    return std::ranges::count(card_checks({}, step), Outcome::failed, &Check::outcome);
  };
  EXPECT_EQ(failed([](DeviceStep&) {}), 0);
  EXPECT_EQ(failed([](DeviceStep& s) { s.peak = 9'500'000'000; }), 1);
  EXPECT_EQ(failed([](DeviceStep& s) { s.peak = 10'600'000'000; }), 1);
  EXPECT_EQ(failed([](DeviceStep& s) { s.losses.back() = 10.5; }), 1);
  EXPECT_EQ(failed([](DeviceStep& s) { s.losses.back() = std::nan(""); }), 1);
  EXPECT_EQ(failed([](DeviceStep& s) { s.fits = false; }), 1);
}

TEST(CardChecks, ACardThatIsTooSmallSkipsAndSaysSo) {
  DeviceStep step = made_up("fp32");
  step.fits = false;
  step.losses.clear();
  step.room = 8'000'000'000;
  const auto checks = card_checks({}, step);
  EXPECT_EQ(checks.at(0).outcome, Outcome::skipped);
  EXPECT_NE(checks.at(0).detail.find("7.45 GiB"), std::string::npos) << checks.at(0).detail;
  for (const auto& row : {device_aokvqa_row({}, {step}), device_biogpt_row({}, {made_up("questions"), step}),
                          device_swap_row({}, {made_up("ViT-L/14"), step})}) {
    EXPECT_EQ(failures(row), 0) << row.row.id;
    EXPECT_NE(row.row.evidence.find("Out of memory: fp32"), std::string::npos) << row.row.evidence;
    check_report(row.report, row.row.id);
  }
}

TEST(DeviceAokvqa, KnowsThePapersCount) {
  EXPECT_EQ(failures(device_aokvqa_row({}, {made_up("bf16"), made_up("fp32", 0.3)})), 0);
  EXPECT_EQ(failures(device_aokvqa_row({}, {made_up("bf16", 0.1, 11'558'911)})), 1);
  EXPECT_NE(message_of([] { device_aokvqa_row({}, {}); }).find("no step"), std::string::npos);
}

TEST(DeviceBaseline, CatchesAnotherLanguageModelAndAnswersThatChange) {
  const DeviceAskingResult good{
      .parameters = 2'000'000'000,
      .language_parameters = 1'311'442'944 + 2 * 2048,
      .asked = {{.shots = 0, .images = 1, .tokens = 60, .questions = 8, .seconds = 0.01, .peak = 1 << 30},
                {.shots = 8, .images = 9, .tokens = 180, .questions = 8, .seconds = 0.02, .peak = 1 << 30}}};
  const auto row = device_baseline_row({}, good);
  EXPECT_EQ(failures(row), 0);
  EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
  EXPECT_NE(row.row.evidence.find("10.0 ms"), std::string::npos) << row.row.evidence;
  EXPECT_EQ(row.table.rows.at(1).back(), "1.19");  // 214,354 questions at 20 ms
  auto bad = good;
  ++bad.language_parameters;
  EXPECT_EQ(failures(device_baseline_row({}, bad)), 1);
  bad = good;
  bad.asked[1].apart = 3;
  EXPECT_EQ(failures(device_baseline_row({}, bad)), 1);
}

TEST(DeviceBioGpt, ComparesAStepWithThePublishedRates) {
  const auto row = device_biogpt_row({}, {made_up("questions", 0.1), made_up("abstracts", 0.3)});
  EXPECT_EQ(failures(row), 0);
  EXPECT_NE(row.row.evidence.find("takes 4.00 times"), std::string::npos) << row.row.evidence;
  EXPECT_NE(row.row.evidence.find("4.20 times apart"), std::string::npos) << row.row.evidence;
}

CardTrial made_up_trial() {
  DeviceStep whole = made_up("fp32, 1 x 512 tokens");
  whole.planned = 17'000'000'000;
  whole.fits = false;
  whole.losses.clear();
  return {.limit = 12'874'164'469, .steps = {whole, made_up("bf16, 1 x 512 tokens", 0.4), made_up("NF4")}};
}

TEST(DeviceMemory, Fp32DoesNotFitAndWhatCostsLeastIsNamed) {
  const auto row = device_memory_row({}, {}, made_up_trial());
  EXPECT_EQ(failures(row), 0);
  EXPECT_EQ(row.row.verdict, Verdict::reproduced);
  EXPECT_NE(row.row.evidence.find("NF4"), std::string::npos) << row.row.evidence;
  EXPECT_NE(to_html(row.page).find("out of memory"), std::string::npos);
  // Nothing is said of the paper's model where it was not run.
  const DeviceScale small{.device = "cpu", .sizes = Sizes::small};
  EXPECT_EQ(device_memory_row({}, small, made_up_trial()).row.verdict, Verdict::not_decidable);
}

TEST(DeviceMemory, CatchesFp32ThatFitsAndAPlanThatDoesNotHold) {
  auto fits = made_up_trial();
  fits.steps[0] = made_up("fp32, 1 x 512 tokens");
  EXPECT_EQ(failures(device_memory_row({}, {}, fits)), 1);
  EXPECT_EQ(device_memory_row({}, {}, fits).row.verdict, Verdict::contradicted);
  auto planned = made_up_trial();
  planned.steps[2].fits = false;
  EXPECT_EQ(failures(device_memory_row({}, {}, planned)), 1);
}

TEST(DeviceSwap, WantsBothTowers) {
  EXPECT_EQ(failures(device_swap_row({}, {made_up("ViT-L/14"), made_up("EfficientNet-Lite0")})), 0);
  EXPECT_NE(message_of([] { device_swap_row({}, {made_up("ViT-L/14")}); }).find("two towers"),
            std::string::npos);
}

// Behind shut gates the feed-forward adapters do nothing.
std::vector<PlacementSteps> made_up_placements() {
  const double adapters = 16.0 * (14'630'912 - 11'558'912);
  std::vector<PlacementSteps> out;
  for (const bool live : {true, false}) {
    DeviceStep all = made_up("Attn + CrossMlp", 0.1, 14'630'912), attention = made_up("Attn");
    for (auto& bytes : all.bytes) bytes += adapters;
    if (live) all.losses = {10, 9.4, 8.9};
    out.push_back({"Attn + CrossMlp", live, all});
    out.push_back({"Attn", live, attention});
  }
  return out;
}

TEST(DevicePlacement, SameBehindShutGatesAndMemoryThatStaysApart) {
  const auto loss = device_placement_loss_row({}, made_up_placements());
  EXPECT_EQ(failures(loss), 0);
  EXPECT_NE(loss.row.evidence.find("to the last bit"), std::string::npos) << loss.row.evidence;
  const auto memory = device_placement_memory_row({}, made_up_placements(), kPublished);
  EXPECT_EQ(failures(memory), 0);
  EXPECT_EQ(memory.row.verdict, Verdict::contradicted);
  EXPECT_NE(memory.row.evidence.find("49.2 MB"), std::string::npos) << memory.row.evidence;
}

TEST(DevicePlacement, CatchesLossesThatPartBehindShutGates) {
  auto runs = made_up_placements();
  runs[2].step.losses[1] *= 1.01;
  EXPECT_EQ(failures(device_placement_loss_row({}, runs)), 1);
  // On a CPU sums are always the same.
  runs[2].step.losses[1] = std::nextafter(9.5, 10.0);
  EXPECT_EQ(failures(device_placement_loss_row({}, runs)), 0);
  EXPECT_EQ(failures(device_placement_loss_row({.device = "cpu"}, runs)), 1);
}

TEST(DevicePlacement, CatchesAdaptersThatLearnNothingAndWrongCounts) {
  auto runs = made_up_placements();
  runs[0].step.losses = runs[1].step.losses;
  EXPECT_EQ(failures(device_placement_loss_row({}, runs)), 1);
  runs = made_up_placements();
  ++runs[0].step.trained;
  EXPECT_EQ(failures(device_placement_loss_row({}, runs)), 1);
  runs.pop_back();
  EXPECT_NE(message_of([&] { device_placement_loss_row({}, runs); }).find("no run of placement"),
            std::string::npos);
}

TEST(DevicePlacement, WhatRunsOutOfMemoryDecidesNothing) {
  auto runs = made_up_placements();
  for (auto& run : runs) {
    run.step.fits = false;
    run.step.room = 8'000'000'000;
    run.step.losses.clear();
  }
  for (const auto& row :
       {device_placement_loss_row({}, runs), device_placement_memory_row({}, runs, kPublished)}) {
    EXPECT_EQ(failures(row), 0) << row.row.id;
    EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
    check_report(row.report, row.row.id);
  }
}

TEST(DevicePlacement, MemoryThatMeetsIsTheClaimAndAnotherStartIsCaught) {
  auto runs = made_up_placements();
  runs[0].step.bytes.back() = runs[1].step.bytes.back();
  const auto meets = device_placement_memory_row({}, runs, kPublished);
  EXPECT_EQ(meets.row.verdict, Verdict::reproduced);
  EXPECT_EQ(failures(meets), 1);  // not what the adapters take
  runs = made_up_placements();
  runs[0].step.bytes.front() += 1e7;
  EXPECT_EQ(failures(device_placement_memory_row({}, runs, kPublished)), 1);
}

}  // namespace
}  // namespace morphvlm::device_test
