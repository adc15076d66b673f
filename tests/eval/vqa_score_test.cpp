#include "morphvlm/eval/vqa_score.hpp"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "morphvlm/core/json.hpp"

namespace morphvlm::vqa_score_test {
namespace {

Json golden() { return read_json(std::filesystem::path(MORPHVLM_GOLDEN_DIR) / "vqa_metric.json"); }

TEST(VqaScore, NormalisesLikeTheReference) {
  const Json reference = golden();
  std::size_t checked = 0;
  for (const char* part : {"normalise", "normalise_unicode"}) {
    for (const Json& pair : reference.at(part)) {
      EXPECT_EQ(normalize_answer(pair[0].get<std::string>()), pair[1].get<std::string>())
          << part << ' ' << pair.dump();
      ++checked;
    }
  }
  EXPECT_GT(checked, 100u);
}

TEST(VqaScore, TakesTheAnswerOutOfAGeneration) {
  const Json reference = golden();
  ASSERT_EQ(reference.at("postprocess").size(), 20u);
  for (const Json& pair : reference.at("postprocess"))
    EXPECT_EQ(answer_of_generation(pair[0].get<std::string>()), pair[1].get<std::string>()) << pair.dump();
}

TEST(VqaScore, AccuracyLikeTheReference) {
  const Json reference = golden();
  ASSERT_EQ(reference.at("accuracy").size(), 27u);
  std::vector<double> accuracies;
  for (const Json& row : reference.at("accuracy")) {
    const auto answers = row[1].get<std::vector<std::string>>();
    accuracies.push_back(vqa_accuracy(row[0].get<std::string>(), answers));
    EXPECT_EQ(vqa_percent(std::span(accuracies).last(1)), row[2].get<double>()) << row.dump();
  }
  EXPECT_EQ(vqa_percent(accuracies), reference.at("overall").get<double>());
}

TEST(VqaScore, PercentIsRoundedAsPython) {
  EXPECT_EQ(vqa_percent(std::vector{0.3, 0.6, 1.0}), 63.33);
  EXPECT_EQ(vqa_percent(std::vector(8, 0.00125)), 0.12);  // exactly 0.125: ties to even
  EXPECT_EQ(round_decimal(2.675, 2), 2.67);               // the double is below the tie
  EXPECT_EQ(round_decimal(0.5, 0), 0.0);
  EXPECT_EQ(round_decimal(1.5, 0), 2.0);
  EXPECT_THROW(vqa_percent({}), Error);
}

TEST(VqaScore, ExactMatchIsForSingleAnswers) {
  const std::vector<std::string> one = {"Two."};
  EXPECT_EQ(exact_match("2", one), 1.0);
  EXPECT_EQ(exact_match("the two", one), 1.0);
  EXPECT_EQ(exact_match("three", one), 0.0);
  EXPECT_EQ(vqa_accuracy("2", one), 0.0);  // no *other* answer to agree with
  EXPECT_EQ(exact_match("2", {}), 0.0);
  EXPECT_THROW(vqa_accuracy("2", {}), Error);
}

TEST(VqaScore, RefusesTextThatIsNotUtf8) { EXPECT_THROW(normalize_answer("\xff"), Error); }

}  // namespace
}  // namespace morphvlm::vqa_score_test
