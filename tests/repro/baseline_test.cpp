#include "repro/baseline.hpp"

#include <gtest/gtest.h>

#include <cmath>

#include "morphvlm/formats/atomic_file.hpp"
#include "repro/run_rows.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using morphvlm::testing::message_of;
using morphvlm::testing::ScratchFolder;

/// A row with one number a seed.
RowResult made_up_row(const std::vector<double>& values, Json parameters = {{"steps", 60}}) {
  RowResult r{.row = {.id = "X.1"}, .report = {.name = "X.1", .scale = "mini"}};
  r.report.parameters = std::move(parameters);
  for (std::size_t i = 0; i < values.size(); ++i) r.add_seed(static_cast<std::int64_t>(i), "loss", values[i]);
  return r;
}

Outcome against(const std::vector<double>& recorded, const std::vector<double>& measured) {
  const ScratchFolder folder;
  record(folder.path, made_up_row(recorded));
  return check_recording(folder.path, made_up_row(measured)).at(0).outcome;
}

TEST(Recording, TheSameNumbersPass) {
  EXPECT_EQ(against({1, 1.1, 0.9}, {1, 1.1, 0.9}), Outcome::passed);
  EXPECT_EQ(against({1, 1, 1}, {1, 1, 1}), Outcome::passed);
  EXPECT_EQ(against({1}, {1}), Outcome::passed);
}

TEST(Recording, OutsideItsToleranceFailsOnEitherSide) {
  const std::vector<double> recorded{1, 1.01, 0.99, 1.02, 0.98};
  for (const double off : {-0.2, 0.2}) {
    std::vector<double> measured;
    for (const double v : recorded) measured.push_back(v + off);
    EXPECT_EQ(against(recorded, measured), Outcome::failed) << off;
  }
  // Nothing varies, or too few seeds for a test: 5 %.
  EXPECT_EQ(against({1, 1, 1}, {1.06, 1.06, 1.06}), Outcome::failed);
  EXPECT_EQ(against({1, 1, 1}, {1.04, 1.04, 1.04}), Outcome::passed);
  EXPECT_EQ(against({1}, {1.06}), Outcome::failed);
  EXPECT_EQ(against({1}, {0.94}), Outcome::failed);
  EXPECT_EQ(against({1}, {1.04}), Outcome::passed);
}

TEST(Recording, FewSeedsAreComparedWithTheSameOnes) {
  EXPECT_EQ(against({1, 2, 3, 4, 5}, {1}), Outcome::passed);
  EXPECT_EQ(against({1, 2, 3, 4, 5}, {3}), Outcome::failed);
}

TEST(Recording, ANaNOrANumberThatIsMissingFails) {
  EXPECT_EQ(against({1, 1.1, 0.9}, {1, std::nan(""), 0.9}), Outcome::failed);
  EXPECT_EQ(against({1}, {std::nan("")}), Outcome::failed);
  const ScratchFolder folder;
  auto recorded = made_up_row({1, 2, 3});
  recorded.add_seed(0, "accuracy", 0.5);
  record(folder.path, recorded);
  const auto checks = check_recording(folder.path, made_up_row({1, 2, 3}));
  ASSERT_EQ(checks.size(), 2U);
  EXPECT_EQ(checks[0].outcome, Outcome::failed);  // accuracy
  EXPECT_EQ(checks[1].outcome, Outcome::passed);
}

TEST(Recording, OfOtherSettingsDoesNotApply) {
  const ScratchFolder folder;
  EXPECT_EQ(check_recording(folder.path, made_up_row({1})).at(0).outcome, Outcome::skipped);
  record(folder.path, made_up_row({1}));
  EXPECT_EQ(check_recording(folder.path, made_up_row({1}, {{"steps", 61}})).at(0).outcome, Outcome::skipped);
  EXPECT_TRUE(check_recording(folder.path, made_up_row({})).empty());
}

TEST(Recording, OfAnotherMachineDoesNotApply) {
  const ScratchFolder folder;
  auto elsewhere = made_up_row({1});
  elsewhere.report.machine.cores = 64;
  record(folder.path, elsewhere);
  EXPECT_EQ(check_recording(folder.path, made_up_row({2})).at(0).outcome, Outcome::skipped);
  EXPECT_EQ(check_recording(folder.path, elsewhere).at(0).outcome, Outcome::passed);
  record(folder.path, made_up_row({2}));
  EXPECT_EQ(check_recording(folder.path, made_up_row({2})).at(0).outcome, Outcome::passed);
  EXPECT_EQ(check_recording(folder.path, elsewhere).at(0).outcome, Outcome::passed);
  EXPECT_EQ(read_recordings(folder.path, "X.1").size(), 2U);
}

TEST(Recording, ReplacesItsOwnRecipeAndKeepsOthers) {
  const ScratchFolder folder;
  record(folder.path, made_up_row({1}));
  record(folder.path, made_up_row({5}, {{"steps", 61}}));
  record(folder.path, made_up_row({2, 3}, {{"steps", 60}, {"seeds", 2}, {"world", {{"out", "x"}}}}));
  record(folder.path, made_up_row({2, 3}));
  const auto recordings = read_recordings(folder.path, "X.1");
  ASSERT_EQ(recordings.size(), 3U);  // 61 steps; with a world; 60 steps
  EXPECT_EQ(recordings.back().seeds.size(), 2U);
  EXPECT_EQ(recordings.back().seeds[1].values.at("loss"), 3);
}

TEST(Recording, FoldersAndTheNumberOfSeedsAreNoPartOfTheRecipe) {
  const Json parameters{{"out", "a"}, {"seeds", 5}, {"world", {{"data", "b"}, {"seed", 1}}}};
  EXPECT_EQ(recipe_of(parameters), (Json{{"world", {{"seed", 1}}}}));
}

TEST(Recording, AFileOfAnotherFormIsAnErrorThatNamesTheKey) {
  const ScratchFolder folder;
  const auto said = [&](const std::string& text) {
    write_file(folder.path / "X.1.json", text);
    return message_of([&] { read_recordings(folder.path, "X.1"); });
  };
  EXPECT_NE(said(R"({"row": "Y", "recordings": []})").find("expected X.1, found Y"), std::string::npos);
  EXPECT_NE(said(R"({"row": "X.1", "recordings": []})").find("a list that is not empty"), std::string::npos);
  EXPECT_NE(said(R"({"row": "X.1", "recordings": [{"recipe": {}, "commit": "c", "date": "d", "machine": {},
                     "seeds": [{"seed": 0, "values": {"loss": "low"}}]}]})")
                .find("loss: expected a number"),
            std::string::npos);
}

TEST(Welch, IsTwoSidedWithItsOwnDegreesOfFreedom) {
  // t = 1.1339 at 3.2346 degrees of freedom, integrated numerically.
  const double a[] = {1, 2, 3, 4}, b[] = {2, 4, 6};
  EXPECT_NEAR(welch_p(a, b), 0.3338237, 1e-6);
}

TEST(Smoke, SkipsWhatDependsOnLearning) {
  Row row{.checks = {exactly("count", 1, 2), near("accuracy", 0.1, 0.9, 0.01), near("other", 0.9, 0.9, 0.1)}};
  skip_learning(row);
  EXPECT_EQ(row.checks[0].outcome, Outcome::failed);
  EXPECT_EQ(row.checks[1].outcome, Outcome::skipped);
  EXPECT_EQ(row.checks[2].outcome, Outcome::passed);
}

}  // namespace
}  // namespace morphvlm::repro
