#include "repro/conclusion.hpp"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <fstream>

#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using experiments::BiasVlStereosetResult;
using experiments::Pubmedqa12Gb;
using experiments::VisionSwap;
using experiments::VisionSwapResult;
using morphvlm::testing::message_of;

TEST(MemoryNeeds, OfThePapersModelAreCounted) {
  const auto r = experiments::run(Pubmedqa12Gb{});
  EXPECT_EQ(r.language_parameters, 3'426'473'600);
  ASSERT_EQ(r.needs.size(), 2U);
  // Two tokens more than OpenLLaMA's own vocabulary, in the table and in the head.
  EXPECT_EQ(r.needs[0].language, 4 * (3'426'473'600 + 2 * 2 * 3200));
  EXPECT_EQ(r.needs[0].adapters, 16 * 11'558'912);
  EXPECT_EQ(r.needs[0].others, 2 * r.needs[1].others);
  EXPECT_EQ(r.needs[1].activations, 26 * 512 * 3200 * 2 + 2 * 512 * 32002 * 4);
}

TEST(MemoryRow, Fp32DoesNotFitAndALargerCardContradicts) {
  const auto r = experiments::run(Pubmedqa12Gb{});
  const auto row = memory_row(Pubmedqa12Gb{}, r);
  EXPECT_EQ(row.row.verdict, Verdict::reproduced) << row.row.evidence;
  EXPECT_EQ(row.row.checks.at(0).outcome, Outcome::passed);
  EXPECT_EQ(row.row.checks.at(2).outcome, Outcome::skipped);
  EXPECT_EQ(memory_row(Pubmedqa12Gb{.card_gib = 24}, r).row.verdict, Verdict::contradicted);
}

TEST(MemoryRow, CatchesACountThatIsOff) {
  auto r = experiments::run(Pubmedqa12Gb{});
  ++r.language_parameters;
  EXPECT_EQ(memory_row(Pubmedqa12Gb{}, r).row.checks.at(0).outcome, Outcome::failed);
  r.needs.pop_back();
  EXPECT_NE(message_of([&] { memory_row(Pubmedqa12Gb{}, r); }).find("expected fp32 and bf16"),
            std::string::npos);
}

VisionSwapResult made_up_swap(double vit, double net) {
  VisionSwapResult r{.majority = 0.4};
  for (const auto tower : experiments::kTowers) {
    for (std::int64_t seed = 0; seed < 3; ++seed) {
      experiments::SwapRun run{.tower = std::string(tower), .seed = seed, .losses = {2, 1}};
      const double right = (tower == experiments::kTowers[0] ? vit : net) * 100;
      for (int i = 0; i < 100; ++i) run.scores.push_back(i < right + static_cast<double>(seed) ? 1 : 0);
      r.runs.push_back(std::move(run));
    }
  }
  return r;
}

TEST(VisionRow, ComparesTowersOverSeeds) {
  const auto row = vision_row(VisionSwap{}, made_up_swap(0.8, 0.6));
  EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
  EXPECT_NE(row.row.evidence.find("+0.200"), std::string::npos) << row.row.evidence;
  EXPECT_EQ(row.row.checks.at(0).outcome, Outcome::passed);
  EXPECT_EQ(row.seeds.size(), 3U);
}

TEST(VisionRow, CatchesAModelThatIsNeverRightAndRefusesEmptyRuns) {
  auto r = made_up_swap(0.8, 0.6);
  for (auto& score : r.runs[0].scores) score = 0;
  EXPECT_EQ(vision_row(VisionSwap{}, r).row.checks.at(0).outcome, Outcome::failed);
  r.runs[1].scores.clear();
  EXPECT_NE(message_of([&] { vision_row(VisionSwap{}, r); }).find("answered nothing"), std::string::npos);
  r = made_up_swap(0.8, 0.6);
  std::erase_if(r.runs, [](const auto& run) { return run.tower == experiments::kTowers[1]; });
  EXPECT_NE(message_of([&] { vision_row(VisionSwap{}, r); }).find("no run with EfficientNet"),
            std::string::npos);
}

BiasVlStereosetResult made_up_picks() {
  BiasVlStereosetResult r;
  for (int i = 0; i < 4; ++i)
    r.data.push_back({.bias = "gender", .target = "x", .anti_stereotypical_image = i < 2});
  using enum StereoPick;
  r.answered = {{"pictures", {anti_stereotype, anti_stereotype, stereotype, unrelated}},
                {"pictures withheld", {stereotype, stereotype, stereotype, stereotype}}};
  return r;
}

TEST(BiasRow, ScoresBothWaysOfAsking) {
  const auto row = bias_row({}, made_up_picks());
  EXPECT_DOUBLE_EQ(metric(row.report, "vlbs.pictures").value, 0);
  EXPECT_DOUBLE_EQ(metric(row.report, "vlbs.pictures withheld").value, 1);
  EXPECT_DOUBLE_EQ(metric(row.report, "vlrs.pictures").value, 0.75);
  EXPECT_EQ(row.row.checks.at(0).outcome, Outcome::passed);
  EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
}

TEST(BiasRow, CatchesPicturesWithoutAnswer) {
  auto r = made_up_picks();
  r.answered[0].picks[3].reset();
  EXPECT_EQ(bias_row({}, r).row.checks.at(0).outcome, Outcome::failed);
  r.answered.pop_back();
  EXPECT_NE(message_of([&] { bias_row({}, r); }).find("with and without pictures"), std::string::npos);
}

}  // namespace
}  // namespace morphvlm::repro
