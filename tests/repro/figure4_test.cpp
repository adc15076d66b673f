#include "repro/figure4.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using experiments::BioGPTConvergence;
using experiments::BioGPTConvergenceResult;
using morphvlm::testing::message_of;

const std::filesystem::path kBioFigures = std::filesystem::path(MORPHVLM_SOURCE_DIR) / "repro/published";

/// How the made-up runs behave.
struct BioBehaviour {
  double pictures_rate = 0.2, combined_rate = 0.2;  ///< of the loss's fall, per step
  double pictures_end = 1, combined_end = 1;        ///< of the loss on pictures
  double flops_ratio = 3;                           ///< of a combined step to one on pictures alone
};

BioGPTConvergenceResult made_up_bio(std::int64_t seeds, const BioBehaviour& b) {
  BioGPTConvergenceResult r;
  for (const bool combined : {true, false}) {
    for (std::int64_t seed = 0; seed < seeds; ++seed) {
      experiments::BioGPTRun run{.combined = combined, .seed = seed};
      const double noise = 0.003 * static_cast<double>((seed * 3 + (combined ? 1 : 0)) % 4);
      for (std::int64_t step = 0; step < 100; ++step) {
        const auto fall = [&](double rate, double end) {
          return end + noise + 2 * std::exp(-(rate + noise) * static_cast<double>(step));
        };
        const double pictures =
            combined ? fall(b.combined_rate, b.combined_end) : fall(b.pictures_rate, b.pictures_end);
        const double medical = combined ? fall(b.combined_rate, 2) : 0;
        run.run.history.push_back({.step = step,
                                   .loss = pictures + medical,
                                   .seconds = static_cast<double>(step + 1) * (combined ? 3 : 1)});
        run.run.vision_loss.push_back(pictures);
        run.run.medical_loss.push_back(medical);
        run.run.flops.push_back(1e9 * static_cast<double>(step + 1) * (combined ? b.flops_ratio : 1));
      }
      r.runs.push_back(std::move(run));
    }
  }
  r.repeated = r.runs.front().run;
  return r;
}

RowResult table_row(const BioGPTConvergenceResult& r) {
  return biogpt_table_row(BioGPTConvergence{}, r, kBioFigures);
}
RowResult time_row(const BioGPTConvergenceResult& r) {
  return biogpt_time_row(BioGPTConvergence{}, r, kBioFigures);
}
RowResult step_row(const BioGPTConvergenceResult& r) {
  return biogpt_step_row(BioGPTConvergence{}, r, kBioFigures);
}

TEST(BioGPTRows, CheaperStepsConvergeSooner) {
  const auto r = made_up_bio(5, {});
  const auto row = table_row(r);
  for (const auto& check : row.row.checks) EXPECT_EQ(check.outcome, Outcome::passed) << check.what;
  EXPECT_EQ(row.row.verdict, Verdict::reproduced) << row.row.evidence;
  EXPECT_NEAR(metric(row.report, "log_ratio_of_flops").value, std::log(1.0 / 3), 0.2);
  EXPECT_EQ(exit_code({row.row}), 0);
}

TEST(BioGPTRows, SlowRunsOnPicturesContradict) {
  EXPECT_EQ(table_row(made_up_bio(5, {.pictures_rate = 0.03})).row.verdict, Verdict::contradicted);
  EXPECT_EQ(time_row(made_up_bio(5, {.pictures_rate = 0.03})).row.verdict, Verdict::contradicted);
}

TEST(BioGPTRows, StepsAreJudgedByTheLossOnPictures) {
  EXPECT_EQ(step_row(made_up_bio(5, {.combined_end = 0.8})).row.verdict, Verdict::reproduced);
  EXPECT_EQ(step_row(made_up_bio(5, {.combined_end = 1.2})).row.verdict, Verdict::contradicted);
  EXPECT_EQ(step_row(made_up_bio(5, {})).row.verdict, Verdict::not_decidable);
}

TEST(BioGPTRows, EqualFlopsAreFewerStepsOfTheCombinedRun) {
  // At a slow fall the combined run, read after a third of the steps, is far behind.
  const auto row = time_row(made_up_bio(5, {.pictures_rate = 0.04, .combined_rate = 0.04}));
  EXPECT_GT(metric(row.report, "picture_loss_gap.flops").value, 0.3);
  EXPECT_NEAR(metric(row.report, "picture_loss_gap.steps").value, 0, 0.02);
}

TEST(BioGPTRows, TooFewSeedsDecideNothing) {
  for (const auto& row : {table_row(made_up_bio(2, {})), time_row(made_up_bio(1, {})),
                          step_row(made_up_bio(2, {.combined_end = 0.5}))})
    EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
}

TEST(BioGPTRows, CatchWhatDoesNotRepeatAndRefuseWhatIsMissing) {
  auto r = made_up_bio(3, {});
  r.repeated.history[0].loss = std::nextafter(r.repeated.history[0].loss, 9);
  EXPECT_EQ(step_row(r).row.checks.at(0).outcome, Outcome::failed);
  r = made_up_bio(3, {});
  r.runs.pop_back();
  EXPECT_NE(message_of([&] { table_row(r); }).find("seed 2 lacks"), std::string::npos);
  r = made_up_bio(3, {});
  r.runs[1].run.vision_loss[5] = std::nan("");
  EXPECT_NE(message_of([&] { table_row(r); }).find("finite"), std::string::npos);
  EXPECT_NE(message_of([&] { table_row({}); }).find("no runs"), std::string::npos);
  EXPECT_NE(
      message_of([&] { biogpt_step_row({}, made_up_bio(1, {}), "/nonexistent"); }).find("fig4_loss_step.csv"),
      std::string::npos);
}

}  // namespace
}  // namespace morphvlm::repro
