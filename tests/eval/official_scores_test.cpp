// A-OKVQA's and PubMedQA's scores against their references (tests/golden/scores.py).
#include <gtest/gtest.h>

#include "morphvlm/data/aokvqa.hpp"
#include "morphvlm/eval/aokvqa_score.hpp"
#include "morphvlm/eval/pubmedqa_score.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::official_scores_test {
namespace {

using ::testing::HasSubstr;
using Answers = std::map<std::string, std::string>;

const Json& golden() {
  static const Json json = read_json(testing::golden_path("scores.json"));
  return json;
}

TEST(PubMedQaScore, IsThatOfScikitLearn) {
  ASSERT_EQ(golden().at("pubmedqa").size(), 4u);
  for (const auto& c : golden().at("pubmedqa")) {
    const auto score = pubmedqa_score(c.at("truth").get<Answers>(), c.at("predictions").get<Answers>());
    EXPECT_NEAR(score.accuracy, c.at("accuracy"), 1e-12);
    EXPECT_NEAR(score.macro_f1, c.at("macro_f1"), 1e-12);
  }
}

TEST(PubMedQaScore, WantsAllAndOnlyTheQuestions) {
  EXPECT_ERROR(pubmedqa_score({{"1", "yes"}, {"2", "no"}}, {{"2", "no"}, {"3", "no"}}),
               HasSubstr("missing: 1; not in the split: 3"));
  EXPECT_ERROR(pubmedqa_score({}, {}), HasSubstr("no question"));
}

TEST(AOkvqaScore, IsThatOfItsDefinition) {
  const testing::ScratchFolder folder;
  const Json& c = golden().at("aokvqa");
  const auto data = read_aokvqa(testing::put(folder / "a.json", c.at("rows").dump()), "val2017");
  const auto direct = c.at("direct").get<Answers>(), choice = c.at("choice").get<Answers>();
  EXPECT_NEAR(aokvqa_score(data, choice), c.at("multiple_choice"), 1e-12);
  EXPECT_NEAR(aokvqa_score(data, direct, {.multiple_choice = false}), c.at("direct_agreed"), 1e-12);
  EXPECT_NEAR(aokvqa_score(data, direct, {.multiple_choice = false, .drop_difficult = false}),
              c.at("direct_all"), 1e-12);
}

TEST(AOkvqaScore, WantsAChoiceForEveryQuestionUnlessTold) {
  const VqaDataset data{"A-OKVQA", {{.id = "q", .choices = {"a", "b"}, .correct_choice = 0}}, {}};
  EXPECT_ERROR(aokvqa_score(data, {}), HasSubstr("question \"q\" has no prediction"));
  EXPECT_ERROR(aokvqa_score(data, {{"q", "c"}}), HasSubstr("\"c\" is none of its choices"));
  EXPECT_EQ(aokvqa_score(data, {}, {.strict = false}), 0.0);
  EXPECT_EQ(aokvqa_score(data, {{"q", "a"}}), 1.0);
}

}  // namespace
}  // namespace morphvlm::official_scores_test
