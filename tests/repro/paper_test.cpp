// The rows at paper scale: judged from made-up answers, and run whole with small model folders and data sets
// that stand for the real ones.
#include "repro/paper.hpp"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

#include "repro/rows.hpp"
#include "repro/run_rows.hpp"
#include "tests/experiments/model_folder.hpp"
#include "tests/experiments/small_sets.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::paper_test {
namespace {

using namespace repro;

namespace fs = std::filesystem;
using experiments::AokvqaOnPaper;
using experiments::PaperAnswers;
using experiments::PaperRun;
using experiments::PlacementOnPaper;
using morphvlm::testing::message_of;
using ::testing::HasSubstr;

// As many questions, as many of them right.
PaperAnswers made_up(std::size_t questions, double accuracy) {
  PaperAnswers out{.questions = static_cast<std::int64_t>(questions)};
  for (std::size_t i = 0; i < questions; ++i)
    out.each.push_back(static_cast<double>(i) < accuracy * static_cast<double>(questions) ? 1 : 0);
  return out;
}

std::int64_t failures(const RowResult& row) {
  return std::ranges::count(row.row.checks, Outcome::failed, &Check::outcome);
}

std::vector<PaperAnswers> like_the_notebook(std::size_t questions = 4000) {
  return {made_up(questions, 0.4353), made_up(questions, 0.4326), made_up(questions, 0.4466),
          made_up(questions, 0.4475)};
}

TEST(PaperBaseline, TheIntervalDecides) {
  const auto row = paper_baseline_row({}, like_the_notebook());
  EXPECT_EQ(failures(row), 0);
  EXPECT_EQ(row.row.verdict, Verdict::not_reproduced) << row.row.evidence;
  auto asked = like_the_notebook();
  asked[0] = made_up(4000, 0.452);
  EXPECT_EQ(paper_baseline_row({}, asked).row.verdict, Verdict::reproduced);
  // A hundred questions decide nothing.
  EXPECT_EQ(paper_baseline_row({}, like_the_notebook(100)).row.verdict, Verdict::not_decidable);
}

TEST(PaperBaseline, CatchesAnotherModelOnEitherSide) {
  for (const double accuracy : {0.40, 0.50}) {
    auto asked = like_the_notebook();
    asked[3] = made_up(4000, accuracy);
    EXPECT_EQ(failures(paper_baseline_row({}, asked)), 1) << accuracy;
  }
  EXPECT_THAT(message_of([] { paper_baseline_row({}, {made_up(10, 0.4)}); }), HasSubstr("numbers of shots"));
}

AokvqaOnPaper made_up_gain(double after, std::size_t seeds) {
  AokvqaOnPaper out{.before = made_up(4000, 0.38)};
  for (std::size_t seed = 0; seed < seeds; ++seed) {
    out.after.push_back(made_up(4000, after + 0.001 * static_cast<double>(seed)));
    out.runs.push_back({.run = {.parameters = 11'558'912}});
  }
  return out;
}

TEST(PaperAokvqa, QuestionsAndSeedsHaveToAgree) {
  const auto row = paper_aokvqa_row({}, made_up_gain(0.46, 3));
  EXPECT_EQ(failures(row), 0);
  EXPECT_EQ(row.row.verdict, Verdict::reproduced) << row.row.evidence;
  EXPECT_EQ(paper_aokvqa_row({}, made_up_gain(0.46, 1)).row.verdict, Verdict::not_decidable);
  EXPECT_EQ(paper_aokvqa_row({}, made_up_gain(0.30, 3)).row.verdict, Verdict::contradicted);
}

TEST(PaperAokvqa, CatchesAdaptersElsewhereAndOtherQuestions) {
  auto r = made_up_gain(0.46, 3);
  r.runs[1].run.parameters = 14'630'912;
  EXPECT_EQ(failures(paper_aokvqa_row({}, r)), 1);
  r = made_up_gain(0.46, 3);
  r.after[0].each.pop_back();
  EXPECT_THAT(message_of([&] { paper_aokvqa_row({}, r); }), HasSubstr("4000 questions before and 3999"));
}

PlacementOnPaper made_up_placement(double apart) {
  PlacementOnPaper out;
  for (std::int64_t seed = 0; seed < 5; ++seed) {
    for (auto* runs : {&out.all, &out.attention}) {
      const bool all = runs == &out.all;
      PaperRun r{.run = {.parameters = all ? 14'630'912 : 11'558'912}};
      for (std::int64_t step = 0; step < 9; ++step)
        r.run.history.push_back(
            {.step = step, .loss = 2 + 0.001 * static_cast<double>(seed) + (all ? 0 : apart)});
      runs->push_back(std::move(r));
    }
  }
  // Seeds do not all differ by the same.
  out.all[0].run.history.back().loss += 0.003;
  return out;
}

TEST(PaperPlacement, IsJudgedByEquivalence) {
  EXPECT_EQ(paper_placement_row({}, made_up_placement(0.01)).row.verdict, Verdict::reproduced);
  EXPECT_EQ(paper_placement_row({}, made_up_placement(0.5)).row.verdict, Verdict::contradicted);
  auto swapped = made_up_placement(0);
  std::swap(swapped.all, swapped.attention);
  EXPECT_EQ(failures(paper_placement_row({}, swapped)), 2);
}

// Small folders with the names of the real ones.
struct PaperAssets : ::testing::Test, testing::SmallSets {
  testing::ScratchFolder scratch;
  fs::path assets = scratch / "assets";

  void SetUp() override {
    for (const char* model : {"of3b", "open_llama_3b", "biogpt_large"}) {
      fs::create_directories(assets);
      testing::make_model_folder(assets / model);
    }
    const auto set = [&](const char* name, auto make) {
      data = assets / name;
      fs::create_directories(data);
      make();
    };
    constexpr int kQuestions = 10;  // eight of them may be demonstrations
    set("vqav2", [&] { make_vqav2(kQuestions); });
    set("aokvqa", [&] { make_aokvqa(); });
    set("pubmedqa", [&] { make_pubmedqa(); });
    set("vl-stereoset", [&] { make_stereoset(); });
    set("coco", [&] { make_coco(); });
  }

  Settings settings(std::vector<std::string> more = {}) const {
    std::vector<std::string> flags{"--scale=paper", "--smoke", "--out=" + (scratch / "runs").string(),
                                   "--on_paper.assets=" + assets.string(),
                                   "--on_paper.programs=" MORPHVLM_PROGRAMS};
    flags.insert(flags.end(), more.begin(), more.end());
    std::vector<const char*> words;
    for (const auto& flag : flags) words.push_back(flag.c_str());
    return read_settings(words);
  }
};

TEST_F(PaperAssets, EveryRowRunsFromItsFiles) {
  // Its blocks are trained on captions first.
  fs::remove_all(assets / "biogpt_large/flamingo");
  const Settings s = settings();
  const auto rows = rows_of(s, MORPHVLM_SOURCE_DIR);
  const auto results = run_rows(rows, s, MORPHVLM_SOURCE_DIR);
  ASSERT_EQ(results.size(), 8U);
  for (const auto& result : results) {
    EXPECT_EQ(result.report.scale, "paper");
    EXPECT_TRUE(fs::exists(scratch / "runs/paper" / result.row.id / "report.json")) << result.row.id;
    EXPECT_GT(result.row.checks.size(), 0U);
    for (const auto& check : result.row.checks) {
      // The folders are not the paper's, and so are their counts and accuracies not.
      const bool of_the_paper = check.what.starts_with("trained parameters") ||
                                check.what.starts_with("adapters with") ||
                                check.what.starts_with("agrees with the notebook");
      EXPECT_TRUE(of_the_paper || check.outcome != Outcome::failed)
          << result.row.id << ": " << check.what << ": " << check.detail;
    }
  }
  EXPECT_TRUE(fs::exists(scratch / "runs/paper/models/biogpt_large/flamingo/checkpoint.safetensors"));
  // What has ended is not run again: its programs are gone.
  const Settings again = settings({"--on_paper.programs=/nowhere"});
  const auto kept = run_rows(rows_of(again, MORPHVLM_SOURCE_DIR), again, MORPHVLM_SOURCE_DIR);
  for (std::size_t i = 0; i < kept.size(); ++i) EXPECT_EQ(kept[i].row.evidence, results[i].row.evidence);
}

TEST_F(PaperAssets, OtherWeightsAreAskedAnew) {
  const Settings s = settings();
  const auto shots = experiments::baseline_on_paper(s.on_paper);
  EXPECT_EQ(shots.at(0).each.size(), 4U);
  const Settings gone = settings({"--on_paper.programs=/nowhere"});
  EXPECT_EQ(experiments::baseline_on_paper(gone.on_paper).at(3).each, shots.at(3).each);
  testing::put(assets / "of3b/language/extra.txt", "another file");
  EXPECT_THAT(message_of([&] { experiments::baseline_on_paper(gone.on_paper); }),
              HasSubstr("evaluate: expected a program"));
}

TEST_F(PaperAssets, WhatIsMissingIsNamed) {
  const auto missing = [&](const std::string& row) {
    const Settings s = settings();
    for (const auto& r : rows_of(s, MORPHVLM_SOURCE_DIR))
      if (r.id == row) return r.missing;
    return std::string("no such row");
  };
  EXPECT_EQ(missing("T1.baseline"), "");
  fs::remove_all(assets / "vqav2");
  EXPECT_THAT(missing("T1.baseline"), HasSubstr("has no folder vqav2"));
  EXPECT_EQ(missing("F3.loss"), "");
  fs::remove_all(assets / "coco");
  EXPECT_EQ(missing("F3.loss"), "");
  fs::remove_all(assets / "open_llama_3b/flamingo");
  EXPECT_THAT(missing("F3.loss"), HasSubstr("has no folder coco"));
  EXPECT_THAT(missing("F4.time"), ::testing::IsEmpty());
  const Settings none = settings({"--on_paper.assets="});
  if (std::getenv("MORPHVLM_ASSETS") == nullptr) {
    EXPECT_THAT(rows_of(none, MORPHVLM_SOURCE_DIR).at(0).missing, HasSubstr("MORPHVLM_ASSETS"));
  }
}

TEST_F(PaperAssets, AProgramThatFailsIsAnErrorThatNamesIt) {
  fs::remove(assets / "of3b/language/config.json");
  const Settings s = settings();
  EXPECT_THAT(message_of([&] { experiments::baseline_on_paper(s.on_paper); }),
              HasSubstr("evaluate: ended with status 1"));
}

}  // namespace
}  // namespace morphvlm::paper_test
