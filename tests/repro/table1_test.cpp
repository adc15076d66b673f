#include "repro/table1.hpp"

#include <gtest/gtest.h>

#include "morphvlm/data/easy_vqa.hpp"
#include "morphvlm/model/presets.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::repro {
namespace {

using experiments::Answered;
using experiments::AokvqaFinetune;
using experiments::AokvqaFinetuneResult;
using morphvlm::testing::message_of;

const std::filesystem::path kEasyVqa = std::filesystem::path(MORPHVLM_DATA_ROOT) / "easy_vqa/data";

Answered answers(const std::string& name, const VqaDataset& data, std::int64_t right) {
  Answered a{.name = name};
  for (std::int64_t i = 0; i < std::ssize(data.examples); ++i)
    a.predictions.push_back({i, i < right ? "yes" : "", i < right ? 1.0 : 0.0});
  a.score = summarize(data, a.predictions);
  return a;
}

/// How many of 200 questions each model answers.
struct RightAnswers {
  std::int64_t pretrained = 100, finetuned = 140, control = 100, blind = 40, majority = 50;
};

AokvqaFinetuneResult made_up_answers(const RightAnswers& right, std::int64_t seeds, std::int64_t lora_count) {
  AokvqaFinetuneResult r{.test = read_easy_vqa(kEasyVqa, Split::test), .base = "Float"};
  r.test.examples.resize(200);
  r.answered = {answers("pretrained", r.test, right.pretrained),
                answers("finetuned", r.test, right.finetuned), answers("control", r.test, right.control),
                answers("blind", r.test, right.blind), answers("majority", r.test, right.majority)};
  r.trained = {{.name = "LoRA fine-tuning", .parameters = lora_count, .history = {{.step = 0, .loss = 1}}}};
  for (std::int64_t seed = 0; seed < seeds; ++seed)
    r.tuned.push_back({seed, r.answered[1].score.accuracy + 0.001 * static_cast<double>(seed),
                       r.answered[2].score.accuracy});
  return r;
}

constexpr std::int64_t kLoraCount = 114'176;  // of the recipe: rank 16 at one gated block and the last layer

AokvqaFinetune recipe() { return experiments::aokvqa_finetune_mini(); }

bool has_easy_vqa() { return std::filesystem::exists(kEasyVqa / "answers.txt"); }

TEST(AokvqaRow, AGainOverQuestionsAndSeedsReproduces) {
  if (!has_easy_vqa()) GTEST_SKIP() << kEasyVqa << " is missing";
  const auto row = aokvqa_row(recipe(), made_up_answers({}, 5, kLoraCount));
  for (const auto& check : row.row.checks)
    EXPECT_EQ(check.outcome, Outcome::passed) << check.what << ": " << check.detail;
  EXPECT_EQ(row.row.verdict, Verdict::reproduced) << row.row.evidence;
  EXPECT_EQ(row.seeds.size(), 5U);
}

TEST(AokvqaRow, ALossContradictsAndOneSeedDecidesNothing) {
  if (!has_easy_vqa()) GTEST_SKIP() << kEasyVqa << " is missing";
  EXPECT_EQ(aokvqa_row(recipe(), made_up_answers({.finetuned = 70}, 5, kLoraCount)).row.verdict,
            Verdict::contradicted);
  EXPECT_EQ(aokvqa_row(recipe(), made_up_answers({}, 1, kLoraCount)).row.verdict, Verdict::not_decidable);
  EXPECT_EQ(aokvqa_row(recipe(), made_up_answers({.finetuned = 101}, 5, kLoraCount)).row.verdict,
            Verdict::not_decidable);
}

TEST(AokvqaRow, CatchesAWrongSiteAndSwappedAnswers) {
  if (!has_easy_vqa()) GTEST_SKIP() << kEasyVqa << " is missing";
  // LoRA at the feed-forward blocks as well has another count.
  EXPECT_EQ(aokvqa_row(recipe(), made_up_answers({}, 5, kLoraCount + 1)).row.checks.at(0).outcome,
            Outcome::failed);
  auto r = made_up_answers({}, 5, kLoraCount);
  std::swap(r.answered[1].predictions, r.answered[3].predictions);
  EXPECT_EQ(aokvqa_row(recipe(), r).row.checks.at(1).outcome, Outcome::failed);
}

TEST(AokvqaRow, AMissingModelIsAnError) {
  if (!has_easy_vqa()) GTEST_SKIP() << kEasyVqa << " is missing";
  auto r = made_up_answers({}, 5, kLoraCount);
  std::erase_if(r.answered, [](const auto& a) { return a.name == "blind"; });
  EXPECT_NE(message_of([&] { aokvqa_row(recipe(), r); }).find("no answers called blind"), std::string::npos);
}

}  // namespace
}  // namespace morphvlm::repro
