#include "repro/figure3.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "repro/equivalence.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using experiments::LoraPlacement;
using experiments::LoraPlacementResult;
using morphvlm::testing::message_of;

const std::filesystem::path kFigures = std::filesystem::path(MORPHVLM_SOURCE_DIR) / "repro/published";

/// A result as it should come out: curves of `seeds` seeds, `effect` lost without the feed-forward adapters.
LoraPlacementResult made_up(std::int64_t seeds, double effect) {
  LoraPlacementResult r{.dead_message = "dead parameters", .dead_parameters = 20};
  for (const auto& name : experiments::placements()) {
    r.full_size[name] = name == "Attn + CrossMlp" ? 14'630'912 : name == "Attn" ? 11'558'912 : 0;
    for (const bool live : {true, false}) {
      for (std::int64_t seed = 0; seed < seeds; ++seed) {
        experiments::PlacementRun run{.placement = name, .live_gates = live, .seed = seed};
        for (std::int64_t step = 0; step < 12; ++step) {
          const double here = live && name == "Attn" ? effect : 0;
          const double noise =
              0.001 * static_cast<double>(seed % 3) * (name == "Attn" && live ? 1 : -1) * (live ? 1 : 0);
          run.run.history.push_back(
              {.step = step, .loss = 1 + std::exp(-static_cast<double>(step)) + here + noise});
        }
        r.runs.push_back(std::move(run));
      }
    }
  }
  return r;
}

RowResult judged(const LoraPlacementResult& r) { return placement_loss_row(LoraPlacement{}, r, kFigures); }

Outcome outcome(const RowResult& row, std::size_t i) { return row.row.checks.at(i).outcome; }

TEST(PlacementRow, SmallDifferencesAreUnaffected) {
  const auto row = judged(made_up(5, 0.002));
  for (std::size_t i = 0; i < 4; ++i) EXPECT_EQ(outcome(row, i), Outcome::passed) << row.row.checks[i].what;
  EXPECT_EQ(outcome(row, 4), Outcome::skipped);
  EXPECT_EQ(row.row.verdict, Verdict::reproduced);
  EXPECT_EQ(exit_code({row.row}), 0);
}

TEST(PlacementRow, LargeDifferencesContradictOnEitherSide) {
  EXPECT_EQ(judged(made_up(5, 0.3)).row.verdict, Verdict::contradicted);
  EXPECT_EQ(judged(made_up(5, -0.3)).row.verdict, Verdict::contradicted);
}

TEST(PlacementRow, AtTheMarginNothingIsDecided) {
  EXPECT_EQ(judged(made_up(5, 0.0484)).row.verdict, Verdict::not_decidable);
}

TEST(PlacementRow, TooFewSeedsDecideNothing) {
  EXPECT_EQ(judged(made_up(1, 0.0)).row.verdict, Verdict::not_decidable);
  EXPECT_EQ(judged(made_up(2, 0.3)).row.verdict, Verdict::not_decidable);
}

TEST(PlacementRow, CatchesACountThatIsOff) {
  auto r = made_up(3, 0);
  ++r.full_size["Attn"];
  const auto row = judged(r);
  EXPECT_EQ(outcome(row, 1), Outcome::failed);
  EXPECT_EQ(exit_code({row.row}), 1);
}

TEST(PlacementRow, CatchesOneBitBehindShutGates) {
  auto r = made_up(3, 0);
  for (auto& run : r.runs)
    if (run.placement == "Attn" && !run.live_gates && run.seed == 2)
      run.run.history[7].loss = std::nextafter(run.run.history[7].loss, 2);
  EXPECT_EQ(outcome(judged(r), 2), Outcome::failed);
}

TEST(PlacementRow, CatchesANaNAndAShorterCurve) {
  auto r = made_up(3, 0);
  for (auto& run : r.runs)
    if (run.placement == "Attn" && !run.live_gates && run.seed == 0) run.run.history[3].loss = std::nan("");
  EXPECT_EQ(outcome(judged(r), 2), Outcome::failed);
  r = made_up(3, 0);
  for (auto& run : r.runs)
    if (run.placement == "Attn" && !run.live_gates && run.seed == 1) run.run.history.pop_back();
  EXPECT_EQ(outcome(judged(r), 2), Outcome::failed);
}

TEST(PlacementRow, CatchesDeadAdaptersThatNobodyReported) {
  auto r = made_up(3, 0);
  r.dead_parameters = 0;
  EXPECT_EQ(outcome(judged(r), 3), Outcome::failed);
}

TEST(PlacementRow, AMissingPlacementIsAnError) {
  auto r = made_up(3, 0);
  std::erase_if(r.runs, [](const auto& run) { return run.placement == "Attn" && !run.live_gates; });
  EXPECT_NE(message_of([&] { judged(r); }).find("no run of placement \"Attn\""), std::string::npos);
  EXPECT_NE(message_of([&] { placement_loss_row({}, made_up(3, 0), "/nonexistent"); }).find("fig3_loss.csv"),
            std::string::npos);
}

TEST(MemoryRow, TellsThePlateausAndWhatAdaptersCanAccountFor) {
  const auto row = placement_memory_row(kFigures);
  EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
  EXPECT_NEAR(metric(row.report, "published_plateau.Default LoRA Blocks").value, 3847, 5);
  EXPECT_NEAR(metric(row.report, "published_plateau.Attention only LoRA Blocks").value, 3725, 5);
  EXPECT_NEAR(metric(row.report, "adapters_left_out").value, 49.152, 1e-6);
  EXPECT_EQ(exit_code({row.row}), 0);
}

TEST(Equivalence, UsesStudentsQuantile) {
  const double values[] = {1, 2, 3, 4, 5};  // mean 3, standard error sqrt(0.5); t(0.95, 4) = 2.131847
  const auto interval = seed_interval(values, 0.9);
  EXPECT_NEAR(interval.low, 3 - 2.131847 * std::sqrt(0.5), 1e-6);
  EXPECT_NEAR(interval.high, 3 + 2.131847 * std::sqrt(0.5), 1e-6);
  EXPECT_NE(message_of([] { seed_interval(std::vector<double>{1}, 0.9); }).find("two seeds"),
            std::string::npos);
}

}  // namespace
}  // namespace morphvlm::repro
