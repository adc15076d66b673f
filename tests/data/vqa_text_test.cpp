// prompt.hpp and vqa_text.hpp.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "morphvlm/data/vqa_text.hpp"
#include "tests/support/message.hpp"

namespace morphvlm::vqa_text_test {
namespace {

using ::testing::HasSubstr;

// One token a byte; "<image>" is token 256.
TokenIds encode(std::string_view text) {
  TokenIds ids;
  while (!text.empty()) {
    const bool image = text.starts_with(kImageToken);
    ids.push_back(image ? 256 : static_cast<unsigned char>(text[0]));
    text.remove_prefix(image ? kImageToken.size() : 1);
  }
  return ids;
}

std::string said(const TokenIds& ids) {
  std::string text;
  for (const auto id : ids)
    text += id == 256 ? std::string(kImageToken) : std::string(1, static_cast<char>(id));
  return text;
}

TEST(FillPrompt, OpenFlamingos) {
  const auto filled = fill_prompt(kVqaPrompt, "is it red?", "yes");
  EXPECT_EQ(filled.query, "<image>Question:is it red? Short answer:");
  EXPECT_EQ(filled.answer, "yes<|endofchunk|>");
}

TEST(FillPrompt, ASpaceBeforeTheAnswerGoesWithIt) {
  const auto filled = fill_prompt("Q: {question}<image> A: {answer}.", "why", "so");
  EXPECT_EQ(filled.query, "Q: why<image> A:");
  EXPECT_EQ(filled.answer, " so.");
  // Only one space, and only there.
  const auto two = fill_prompt("{question}  {answer}", " a ", "b");
  EXPECT_EQ(two.query, " a  ");
  EXPECT_EQ(two.answer, " b");
}

TEST(FillPrompt, PlaceholdersInWhatIsFilledInStay) {
  const auto filled = fill_prompt("{question}:{answer}", "{answer}", "{question}");
  EXPECT_EQ(filled.query, "{answer}:");
  EXPECT_EQ(filled.answer, "{question}");
}

TEST(FillPrompt, PlaceholdersStandOnceAndInOrder) {
  for (const char* prompt :
       {"", "{question}", "{answer}", "{answer}{question}", "{question}{question}{answer}",
        "{question}{answer}{answer}", "{question}{answer}{question}", "{Question} {answer}"}) {
    EXPECT_THAT(
        testing::message_of([&] { fill_prompt(prompt, "q", "a"); }),
        HasSubstr("\"" + std::string(prompt) + "\": expected {question} and then {answer}, once each"));
  }
}

TEST(TokenizeVqa, CutsAtTheFirstMediaToken) {
  const auto first = tokenize_vqa(kVqaPrompt, "red?", "no", 256, encode);
  EXPECT_TRUE(first.prefix.empty());
  EXPECT_EQ(said(first.rest), "<image>Question:red? Short answer:");
  EXPECT_EQ(said(first.answer), "no<|endofchunk|>");
  const auto late = tokenize_vqa("Q: {question}<image>, <image>. A: {answer}!", "red?", "no", 256, encode);
  EXPECT_EQ(said(late.prefix), "Q: red?");
  EXPECT_EQ(said(late.rest), "<image>, <image>. A:");
  EXPECT_EQ(said(late.answer), " no!");
  EXPECT_EQ(said(whole_text(late)), "Q: red?<image>, <image>. A: no!");
}

TEST(TokenizeVqa, AQuestionOrAnswerWithAMediaTokenIsAnError) {
  EXPECT_THAT(testing::message_of([&] { tokenize_vqa(kVqaPrompt, "a <image>?", "no", 256, encode); }),
              HasSubstr("question \"a <image>?\": expected no media token (id 256) in it"));
  EXPECT_THAT(testing::message_of([&] { tokenize_vqa(kVqaPrompt, "red?", "<image>", 256, encode); }),
              HasSubstr("answer \"<image>\": expected no media token"));
}

TEST(TokenizeVqa, AQueryWithoutMediaTokenIsAnError) {
  for (const char* prompt : {"{question}{answer}", "{question}{answer}<image>"}) {
    EXPECT_THAT(testing::message_of([&] { tokenize_vqa(prompt, "q", "a", 256, encode); }),
                HasSubstr("expected the media token (id 256) in the query, found none"));
  }
}

}  // namespace
}  // namespace morphvlm::vqa_text_test
