// Choices scored with the query read once are scored as if each were read whole.
#include "morphvlm/eval/rank.hpp"

#include <ATen/ops/tensor.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::rank_test {
namespace {

using ::testing::ElementsAre;
using RankModel = testing::TinyVlm<LoRA<CrossAttn, CrossMlp>>;

TokenIds letters_of(const std::string& text) {
  TokenIds ids;
  for (const char c : text)
    ids.push_back(c == '#' ? testing::kTinyMedia : static_cast<unsigned char>(c) % 47 + 1);
  return ids;
}

/// The mean over the choice's tokens, from one pass over the whole text.
double score_of_whole(const RankModel& model, const TokenIds& query, const TokenIds& choice,
                      const Tensor& latents) {
  at::NoGradGuard no_grad;
  TokenIds whole = query;
  whole.insert(whole.end(), choice.begin(), choice.end());
  const Tensor ids = at::tensor(whole, at::kLong).unsqueeze(0);
  const Tensor log_probs = at::log_softmax(model.logits(model.hidden({.ids = ids}, latents)), -1)[0];
  double sum = 0;
  for (std::size_t i = 0; i < choice.size(); ++i)
    sum += log_probs[static_cast<std::int64_t>(query.size() + i) - 1][choice[i]].item<double>();
  return sum / static_cast<double>(choice.size());
}

struct Rank : ::testing::Test {
  RankModel model = testing::tiny_model<RankModel>(31);
  Tensor latents;

  void SetUp() override {
    testing::wake_adapters(model, 32);
    at::NoGradGuard no_grad;
    latents = model.resample(model.encode_vision(testing::tiny_pixels(33, 1)));
  }
};

TEST_F(Rank, ScoresAreThoseOfWholeTexts) {
  const RankedQuery q{letters_of("#what is it"), {letters_of("red"), letters_of("b"), letters_of("blueish")}};
  for (const Tensor& seen : {latents, Tensor{}}) {
    const auto scores = choice_scores(model, q, seen);
    ASSERT_EQ(scores.size(), 3u);
    for (std::size_t i = 0; i < 3; ++i)
      EXPECT_NEAR(scores[i], score_of_whole(model, q.query, q.choices[i], seen), 1e-5);
  }
  EXPECT_GT(std::abs(choice_scores(model, q, latents)[0] - choice_scores(model, q, {})[0]), 1e-3);
}

TEST_F(Rank, ChoicesOfOneTokenEach) {
  const RankedQuery q{letters_of("#is it"), {letters_of("y"), letters_of("n")}};
  const auto scores = choice_scores(model, q, latents);
  EXPECT_NEAR(scores[1], score_of_whole(model, q.query, q.choices[1], latents), 1e-5);
}

TEST(RankText, ChoicesPartWhereTheyDifferFromThePrompt) {
  const std::string choices[] = {"yes", "no"};
  const auto plain = tokenize_choices("is it:", choices, letters_of);
  EXPECT_EQ(plain.query, letters_of("is it:"));
  EXPECT_EQ(plain.choices[1], letters_of("no"));
  // A tokenizer that joins ":" and "y".
  const auto joined = tokenize_choices("is it:", choices, [](std::string text) {
    const auto at = text.find(":y");
    if (at != text.npos) text.replace(at, 2, "@");
    return letters_of(text);
  });
  EXPECT_EQ(joined.query, letters_of("is it"));
  EXPECT_EQ(joined.choices[0], letters_of("@es"));
  EXPECT_EQ(joined.choices[1], letters_of(":no"));
}

TEST(RankText, AChoiceThatAddsNothingStillHasAToken) {
  const std::string choices[] = {"", "a"};
  const auto q = tokenize_choices("xy", choices, letters_of);
  EXPECT_EQ(q.query, letters_of("x"));
  EXPECT_EQ(q.choices[0], letters_of("y"));
  EXPECT_THAT(testing::message_of([&] { tokenize_choices("", choices, letters_of); }),
              ::testing::HasSubstr("no token of its own"));
  EXPECT_THAT(testing::message_of([&] { tokenize_choices("x", std::span<const std::string>{}, letters_of); }),
              ::testing::HasSubstr("no choice"));
}

TEST(RankText, OfEqualsTheFirst) {
  EXPECT_EQ(best_choice(std::vector<double>{-2, -1, -1}), 1u);
  EXPECT_THAT(testing::message_of([&] { best_choice({}); }), ::testing::HasSubstr("no scores"));
}

}  // namespace
}  // namespace morphvlm::rank_test
