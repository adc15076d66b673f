#include "morphvlm/data/instruction.hpp"

#include <gtest/gtest.h>

namespace morphvlm::instruction_test {
namespace {

const std::string kHead =
    "Below is an instruction that describes a task. Write a response that appropriately completes the "
    "request.\n\n";

TEST(Instruction, PromptsWithAndWithoutPictureAndInput) {
  EXPECT_EQ(
      instruction_prompt("What?", join_options({"a", "b c"})),
      kHead + "### Image:\n<image>\n\n### Instruction:\nWhat?\n\n### Input:\na, b c\n\n### Response:\n");
  EXPECT_EQ(instruction_prompt("What?"),
            kHead + "### Image:\n<image>\n\n### Instruction:\nWhat?\n\n### Response:\n");
  EXPECT_EQ(instruction_prompt("Do.", "this", false),
            kHead + "### Instruction:\nDo.\n\n### Input:\nthis\n\n### Response:\n");
}

TEST(Instruction, AnswersOfAOkvqa) {
  VqaExample e{.choices = {"cat", "dog"}, .correct_choice = 1, .rationales = {"It barks.", "It runs."}};
  EXPECT_EQ(aokvqa_answer(e), "The answer is dog. Because It barks. It runs.");
  EXPECT_EQ(response_of_generation("### Response: a ### Response:\n b \n"), "b");
  EXPECT_EQ(response_of_generation("  plain"), "plain");
  EXPECT_EQ(response_of_generation("### Response:\n "), "");
}

// One token a character, 1 in front: enough to see which positions are learned.
TokenIds letters(const std::string& text) {
  TokenIds ids{1};
  for (const char c : text) ids.push_back(c);
  return ids;
}

TEST(Instruction, LearnsTheResponseAlone) {
  const InstructionTokens tokens{.eos = 2, .pad = 0, .media = '*', .max_length = 8};
  const auto l = label_instruction({"ab", "c*d"}, tokens, letters);
  EXPECT_EQ(l.ids, (TokenIds{1, 'a', 'b', 'c', '*', 'd', 2}));
  EXPECT_EQ(l.labels, (TokenIds{-100, -100, -100, 'c', -100, 'd', 2}));
}

TEST(Instruction, IsCutAtItsLengthAndThenHasNoEnd) {
  const InstructionTokens tokens{.eos = 2, .pad = 0, .max_length = 4};
  EXPECT_EQ(label_instruction({"a", "bcde"}, tokens, letters).labels, (TokenIds{-100, -100, 'b', 'c'}));
  EXPECT_EQ(label_instruction({"abcdef", "g"}, tokens, letters).labels, TokenIds(4, -100));
}

TEST(Instruction, BatchesArePaddedOnTheRight) {
  const std::vector<LabelledIds> rows{{{1, 5, 6}, {-100, 5, 6}}, {{1}, {-100}}};
  const Batch batch = collate_labelled(rows, 0);
  EXPECT_TRUE(batch.text.ids.equal(at::tensor({1, 5, 6, 1, 0, 0}, at::kLong).view({2, 3})));
  EXPECT_TRUE(batch.text.attention_mask.equal(at::tensor({1, 1, 1, 1, 0, 0}, at::kLong).view({2, 3})));
  EXPECT_TRUE(batch.labels.equal(at::tensor({-100, 5, 6, -100, -100, -100}, at::kLong).view({2, 3})));
}

}  // namespace
}  // namespace morphvlm::instruction_test
