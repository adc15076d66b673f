#include "repro/table1_baseline.hpp"

#include <gtest/gtest.h>

#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using experiments::BaselineVqav2;
using experiments::BaselineVqav2Result;
using morphvlm::testing::message_of;

BaselineVqav2Result made_up_trials() {
  BaselineVqav2Result r;
  for (const auto shots : experiments::kShots)
    for (std::int64_t seed = 0; seed < 2; ++seed)
      r.trials.push_back({.shots = shots,
                          .seed = seed,
                          .questions = 50,
                          .right = 20 + shots,
                          .majority = 15,
                          .answers = {"yes", "red"}});
  r.repeated = r.trials.front();
  return r;
}

TEST(BaselineRow, ShowsPaperAndNotebookAndDecidesNothing) {
  const auto row = baseline_row(BaselineVqav2{}, made_up_trials());
  EXPECT_EQ(row.row.checks.at(0).outcome, Outcome::passed);
  EXPECT_EQ(row.row.checks.at(1).outcome, Outcome::skipped);
  EXPECT_EQ(row.row.verdict, Verdict::not_decidable);
  // 43.53 % of 4,000: Wilson's interval ends below 45.5.
  EXPECT_NE(row.row.evidence.find("45.5 lies outside"), std::string::npos) << row.row.evidence;
  EXPECT_NEAR(metric(row.report, "accuracy.shots8").value, 0.56, 1e-12);
  EXPECT_EQ(metric(row.report, "accuracy.shots8").n, 100);
  EXPECT_EQ(row.seeds.size(), 2U);
}

TEST(BaselineRow, CatchesAnswersThatDoNotRepeat) {
  auto r = made_up_trials();
  r.repeated.answers[1] = "blue";
  EXPECT_EQ(baseline_row(BaselineVqav2{}, r).row.checks.at(0).outcome, Outcome::failed);
  r.repeated.answers.clear();
  EXPECT_EQ(baseline_row(BaselineVqav2{}, r).row.checks.at(0).outcome, Outcome::failed);
}

TEST(BaselineRow, RefusesTrialsThatAskedNothingOrAreMissing) {
  auto r = made_up_trials();
  r.trials[3].questions = 0;
  EXPECT_NE(message_of([&] { baseline_row(BaselineVqav2{}, r); }).find("asked nothing"), std::string::npos);
  r = made_up_trials();
  std::erase_if(r.trials, [](const auto& t) { return t.shots == 4; });
  EXPECT_NE(message_of([&] { baseline_row(BaselineVqav2{}, r); }).find("no trial with 4 shots"),
            std::string::npos);
}

}  // namespace
}  // namespace morphvlm::repro
