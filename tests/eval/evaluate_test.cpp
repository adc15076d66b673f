// Asking a data set's questions in batches gives what asking one by one gives.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "morphvlm/eval/evaluate.hpp"
#include "tests/support/golden.hpp"
#include "tests/support/message.hpp"
#include "tests/support/tiny_vlm.hpp"

namespace morphvlm::evaluate_test {
namespace {

using Model = testing::TinyVlm<LoRA<CrossAttn, CrossMlp>>;

// A letter is a token, so is "<image>". Answers come back as the tokens' numbers.
TextCodec letters(std::string_view prompt, std::int64_t end) {
  return {.encode =
              [](std::string_view text) {
                TokenIds ids;
                while (!text.empty()) {
                  const bool image = text.starts_with(kImageToken);
                  ids.push_back(image ? testing::kTinyMedia : static_cast<unsigned char>(text[0]) % 47 + 1);
                  text.remove_prefix(image ? kImageToken.size() : 1);
                }
                return ids;
              },
          .decode =
              [](const TokenIds& ids) {
                std::string text;
                for (const auto id : ids) text += (text.empty() ? "" : " ") + std::to_string(id);
                return text;
              },
          .prompt = std::string(prompt),
          .media_token = testing::kTinyMedia,
          .eoc_token = end};
}

constexpr const char* kImageFirst = "<image>Q{question} A{answer}.";
constexpr const char* kQuestionFirst = "Q{question}<image> A{answer}.";

struct Evaluate : ::testing::TestWithParam<const char*> {
  Model model = testing::tiny_model<Model>(21);
  Tensor latents;  // of 10 pictures
  VqaDataset data{.name = "letters"};

  void SetUp() override {
    testing::wake_adapters(model, 22);
    at::NoGradGuard no_grad;
    // Pictures that differ and matter: a young model's answers would all be alike.
    visit(model, [](const std::string& name, Tensor& t) {
      if (matches(name, kGates) || name == "vision_encoder.conv1.weight") t.mul_(4);
    });
    latents = model.resample(model.encode_vision(testing::tiny_pixels(23, 10)));
    const char* questions[] = {"red",  "is it red", "red", "blue?", "der",
                               "what", "a",         "red", "wath",  "is it der"};
    for (std::int64_t i = 0; i < 30; ++i) {
      data.examples.push_back({.question = questions[i % 10],
                               .answers = {"7"},
                               .image_id = i * 7 % 10,
                               .kind = i % 3 ? "open" : "yes/no"});
    }
  }

  Tensor latents_of(const std::vector<std::int64_t>& rows) const {
    std::vector<std::int64_t> images;
    for (const auto row : rows) images.push_back(data.examples[static_cast<std::size_t>(row)].image_id);
    return latents.index_select(0, at::tensor(images, at::kLong));
  }

  // New tokens of one question asked alone, cut at `end`.
  TokenIds alone(const TextCodec& codec, std::int64_t row, bool with_image, std::int64_t steps,
                 std::int64_t beams = 1, double length_penalty = 1) const {
    auto query = tokenize_vqa(codec.prompt, data.examples[static_cast<std::size_t>(row)].question, "",
                              codec.media_token, codec.encode);
    const Tensor ids =
        generate(model, collate_queries({&query, 1}, 0), with_image ? latents_of({row}) : Tensor{},
                 {.max_new_tokens = steps,
                  .eos_token_id = codec.eoc_token,
                  .num_beams = beams,
                  .length_penalty = length_penalty})
            .ids;
    const auto* first = ids.const_data_ptr<std::int64_t>();
    return {first, std::find(first, first + ids.numel(), codec.eoc_token)};
  }

  // The token that, taken for the end, leaves the most different answers: it cuts some short and others not.
  std::int64_t ending_token(const char* prompt) const {
    std::vector<TokenIds> whole;
    for (std::int64_t row = 0; row < 30; ++row) whole.push_back(alone(letters(prompt, -1), row, true, 4));
    std::size_t best = 0;
    std::int64_t token = -1;
    for (std::int64_t candidate = 0; candidate < testing::kTinyVocabulary; ++candidate) {
      std::set<TokenIds> different;
      std::size_t cut = 0;
      for (const auto& ids : whole) {
        different.emplace(ids.begin(), std::ranges::find(ids, candidate));
        cut += std::ranges::find(ids, candidate) != ids.end();
      }
      if (cut > 0 && different.size() > best) best = different.size(), token = candidate;
    }
    return token;
  }
};

TEST_P(Evaluate, AnswersAreThoseOfQuestionsAskedAlone) {
  const auto codec = letters(GetParam(), ending_token(GetParam()));
  std::vector<std::string> expected;
  std::set<std::size_t> lengths;
  for (std::int64_t row = 0; row < 30; ++row) {
    const auto ids = alone(codec, row, true, 4);
    lengths.insert(ids.size());
    expected.push_back(codec.decode(ids));
  }
  EXPECT_GT(lengths.size(), 1u) << "no answer ends early";
  EXPECT_GT(std::set<std::string>(expected.begin(), expected.end()).size(), 5u);
  for (const std::int64_t batch : {1, 4, 64}) {
    const auto found = evaluate(model, data, codec, [&](const auto& rows) { return latents_of(rows); },
                                {.batch = batch, .max_new_tokens = 4, .title = ""});
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < found.size(); ++i) {
      EXPECT_EQ(found[i].example, static_cast<std::int64_t>(i));
      EXPECT_EQ(found[i].answer, expected[i]) << i << " in batches of " << batch;
      EXPECT_EQ(found[i].score, expected[i] == "7" ? 1 : 0);
    }
  }
}

TEST_P(Evaluate, BeamsAndTheirPenaltyAreThoseAskedFor) {
  // A token that, taken for the end, makes long answers and short ones of a question's beams.
  const auto end = [&] {
    std::set<std::int64_t> tokens;
    for (std::int64_t row = 0; row < 10; ++row)
      for (const auto id : alone(letters(GetParam(), -1), row, true, 4, 3)) tokens.insert(id);
    for (const auto token : tokens) {
      const auto codec = letters(GetParam(), token);
      for (std::int64_t row = 0; row < 10; ++row)
        if (alone(codec, row, true, 4, 3, 9) != alone(codec, row, true, 4, 3, -9)) return token;
    }
    return std::int64_t{-1};
  }();
  ASSERT_GE(end, 0);
  const auto codec = letters(GetParam(), end);
  std::set<std::vector<std::string>> ways;
  for (const auto& [beams, penalty] : {std::pair{1, 1.0}, std::pair{3, 9.0}, std::pair{3, -9.0}}) {
    std::vector<std::string> expected, found;
    for (std::int64_t row = 0; row < 30; ++row)
      expected.push_back(codec.decode(alone(codec, row, true, 4, beams, penalty)));
    const EvaluateConfig config{
        .batch = 8, .max_new_tokens = 4, .num_beams = beams, .length_penalty = penalty, .title = ""};
    for (const auto& p : evaluate(
             model, data, codec, [&](const auto& rows) { return latents_of(rows); }, config))
      found.push_back(p.answer);
    EXPECT_EQ(found, expected) << beams << ' ' << penalty;
    if (beams > 1) ways.insert(found);
  }
  EXPECT_EQ(ways.size(), 2u) << "the penalty makes no difference";
}

TEST_P(Evaluate, BlindQuestionsAreAskedOnceAndAnswerAllThatAskThem) {
  const auto codec = letters(GetParam(), -1);
  data.examples[3].answers = {"6"};
  std::int64_t batches = 0;
  const EvaluateConfig config{.batch = 1, .max_new_tokens = 3, .title = ""};
  const auto every = evaluate(
      model, data, codec,
      [&](const auto&) {
        ++batches;
        return Tensor{};
      },
      config);
  EXPECT_EQ(batches, 30);
  const auto found = evaluate_blind(model, data, codec, config);
  ASSERT_EQ(found.size(), 30u);
  std::set<std::string> answers;
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].example, static_cast<std::int64_t>(i));
    EXPECT_EQ(found[i].answer, every[i].answer) << data.examples[i].question;
    EXPECT_EQ(found[i].score, score_answer(found[i].answer, data.examples[i].answers));
    answers.insert(found[i].answer);
  }
  EXPECT_GT(answers.size(), 2u) << "all questions have one answer";
}

TEST_P(Evaluate, WithheldImagesLeaveTheText) {
  const auto codec = letters(GetParam(), -1);
  const EvaluateConfig config{.batch = 8, .max_new_tokens = 4, .title = ""};
  const auto blind = evaluate(
      model, data, codec, [](const auto&) { return Tensor{}; }, config);
  const auto seeing = evaluate(
      model, data, codec, [&](const auto& rows) { return latents_of(rows); }, config);
  std::map<std::string, std::set<std::string>> said;
  int other = 0;
  for (std::int64_t row = 0; row < 30; ++row) {
    const auto& answer = blind[static_cast<std::size_t>(row)].answer;
    EXPECT_EQ(answer, codec.decode(alone(codec, row, false, 4)));
    said[data.examples[static_cast<std::size_t>(row)].question].insert(answer);
    other += answer != seeing[static_cast<std::size_t>(row)].answer;
  }
  for (const auto& [question, answers] : said) EXPECT_EQ(answers.size(), 1u) << question;
  EXPECT_GT(other, 5);
}

INSTANTIATE_TEST_SUITE_P(Prompts, Evaluate, ::testing::Values(kImageFirst, kQuestionFirst));

TEST(Summarize, MeansOverAllAndByKind) {
  const VqaDataset data{"d", {{.kind = "open"}, {.kind = "yes/no"}, {.kind = "open"}, {.kind = "open"}}, {}};
  const auto score = summarize(data, {{0, "", 1}, {1, "", 0.5}, {2, "", 0}, {3, "", 0.5}});
  EXPECT_EQ(score.questions, 4);
  EXPECT_DOUBLE_EQ(score.accuracy, 0.5);
  EXPECT_EQ(score.by_kind, (std::map<std::string, double>{{"open", 0.5}, {"yes/no", 0.5}}));
  EXPECT_EQ(score.count_by_kind, (std::map<std::string, double>{{"open", 3}, {"yes/no", 1}}));
  // A part of the questions, in another order.
  const auto part = summarize(data, {{2, "", 1}, {1, "", 0}});
  EXPECT_DOUBLE_EQ(part.by_kind.at("open"), 1);
  EXPECT_DOUBLE_EQ(part.by_kind.at("yes/no"), 0);
  EXPECT_THAT(testing::message_of([&] { summarize(data, {}); }), ::testing::HasSubstr("no predictions"));
}

TEST(ScoreAnswer, ExactForOneAnnotatorVqaForMany) {
  EXPECT_EQ(score_answer("The red.", {"red"}), 1);
  EXPECT_EQ(score_answer("blue", {"red"}), 0);
  std::vector<std::string> ten(10, "red");
  std::fill_n(ten.begin(), 2, "blue");
  EXPECT_EQ(score_answer("red", ten), 1);
  EXPECT_NEAR(score_answer("blue", ten), (2 * 1.0 / 3 + 8 * 2.0 / 3) / 10, 1e-12);
}

TEST(Majority, PerQuestionAndOverallForNewOnes) {
  const auto ask = [](const char* question, const char* answer) {
    return VqaExample{.question = question, .answers = {answer}};
  };
  const VqaDataset train{"d",
                         {ask("a?", "yes"), ask("a?", "no"), ask("a?", "no"), ask("b?", "red"),
                          ask("b?", "red"), ask("c?", "no")},
                         {}};
  // Of all answers "no" is the most frequent, three times over two questions.
  const VqaDataset test{"d", {ask("b?", "blue"), ask("a?", "no"), ask("new?", "no"), ask("a?", "yes")}, {}};
  const auto found = majority_per_question(train, test);
  ASSERT_EQ(found.size(), 4u);
  const std::pair<const char*, double> expected[] = {{"red", 0}, {"no", 1}, {"no", 1}, {"no", 0}};
  for (std::size_t i = 0; i < found.size(); ++i) {
    EXPECT_EQ(found[i].example, static_cast<std::int64_t>(i));
    EXPECT_EQ(found[i].answer, expected[i].first);
    EXPECT_EQ(found[i].score, expected[i].second);
  }
}

}  // namespace
}  // namespace morphvlm::evaluate_test
