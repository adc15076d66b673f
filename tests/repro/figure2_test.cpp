#include "repro/figure2.hpp"

#include <gtest/gtest.h>

#include "repro/published.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using morphvlm::testing::message_of;

const std::filesystem::path kPublished = std::filesystem::path(MORPHVLM_SOURCE_DIR) / "repro/published";

std::vector<Outcome> outcomes(const RowResult& result) {
  std::vector<Outcome> out;
  for (const auto& check : result.row.checks) out.push_back(check.outcome);
  return out;
}

TEST(LearningRateRow, DrawsThePublishedCurvesAndContradictsTheirLegend) {
  const RowResult result = learning_rate_row(published_schedules(), kPublished);
  EXPECT_EQ(outcomes(result), std::vector(3, Outcome::passed));
  EXPECT_EQ(result.row.verdict, Verdict::contradicted);
  EXPECT_NE(result.row.evidence.find("\"20 Warmup Exponential\" is cosine, warm-up 10"), std::string::npos);
  EXPECT_EQ(exit_code({result.row}), 0);
}

TEST(LearningRateRow, CatchesASchedulePlantedOneStepOff) {
  for (std::size_t i = 0; i < 3; ++i) {
    auto schedules = published_schedules();
    ++std::get<Cosine>(schedules[i].drawn).warmup;
    const RowResult result = learning_rate_row(schedules, kPublished);
    for (std::size_t j = 0; j < 3; ++j)
      EXPECT_EQ(outcomes(result)[j], i == j ? Outcome::failed : Outcome::passed) << i << ' ' << j;
    EXPECT_EQ(exit_code({result.row}), 1);
  }
}

TEST(LearningRateRow, SaysReproducedWhereTheLegendIsRight) {
  auto schedules = published_schedules();
  schedules.resize(1);
  EXPECT_EQ(learning_rate_row(schedules, kPublished).row.verdict, Verdict::reproduced);
}

TEST(LearningRateRow, WithoutItsFileOrCurveIsAnError) {
  EXPECT_NE(message_of([] {
              learning_rate_row(published_schedules(), "/nonexistent");
            }).find("fig2_learning_rate.csv"),
            std::string::npos);
  auto schedules = published_schedules();
  schedules[0].curve = "no such curve";
  EXPECT_NE(message_of([&] { learning_rate_row(schedules, kPublished); }).find("0 Warmup Cosine"),
            std::string::npos);
}

TEST(Checks, FailOnNaN) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  EXPECT_EQ(at_most("x", nan, 1).outcome, Outcome::failed);
  EXPECT_EQ(near("x", nan, 1, 1).outcome, Outcome::failed);
}

TEST(Checks, FailOutsideOnEitherSide) {
  EXPECT_EQ(near("x", 0.50, 0.53, 0.03 + 1e-9).outcome, Outcome::passed);
  EXPECT_EQ(near("x", 0.499, 0.53, 0.03).outcome, Outcome::failed);
  EXPECT_EQ(near("x", 0.561, 0.53, 0.03).outcome, Outcome::failed);
  EXPECT_EQ(exactly("x", 3, 4).outcome, Outcome::failed);
  EXPECT_EQ(exactly("x", 4, 4).outcome, Outcome::passed);
}

TEST(Suite, WithNothingCheckedFails) {
  EXPECT_EQ(exit_code({}), 1);
  EXPECT_EQ(exit_code({{.checks = {skipped("x", "no device")}}}), kNothingChecked);
}

}  // namespace
}  // namespace morphvlm::repro
