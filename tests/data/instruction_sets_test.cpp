// Instructions against Multimodal-GPT's own data sets (tests/golden/instruction.py).
#include "morphvlm/data/instruction_sets.hpp"

#include <gtest/gtest.h>

#include "morphvlm/data/joint_rows.hpp"
#include "tests/formats/files.hpp"
#include "tests/support/golden.hpp"

namespace morphvlm::instruction_sets_test {
namespace {

using ::testing::HasSubstr;
using testing::put;
using testing::ScratchFolder;
using Strings = std::vector<std::string>;
using Rows = std::vector<std::int64_t>;

const Json& golden() {
  static const Json json = read_json(testing::golden_path("instruction.json"));
  return json;
}

constexpr InstructionTokens kTokens{.eos = 2, .pad = 0, .media = 300};

// One id a character, 1 in front, 300 for the media token: the fixture's tokenizer.
TokenIds letters(std::string_view text) {
  TokenIds ids{1};
  while (!text.empty()) {
    const bool media = text.starts_with(kImageToken);
    ids.push_back(media ? 300 : text[0]);
    text.remove_prefix(media ? kImageToken.size() : 1);
  }
  return ids;
}

void expect_text(const InstructionText& text, const Json& expected) {
  EXPECT_EQ(text.instruction, expected[0].get<std::string>());
  EXPECT_EQ(text.answer, expected[1].get<std::string>());
}

void expect_batch(const Batch& batch, const Json& expected) {
  const auto same = [](const Tensor& found, const Json& rows) {
    std::vector<TokenIds> lists;
    for (const auto& row : rows) lists.push_back(row.get<TokenIds>());
    return found.equal(pad_rows(lists, 0, Padding::right).ids);
  };
  EXPECT_TRUE(same(batch.text.ids, expected.at("input_ids")));
  EXPECT_TRUE(same(batch.text.attention_mask, expected.at("attention_mask")));
  EXPECT_TRUE(same(batch.labels, expected.at("labels")));
}

VqaExample vqa_row(const Json& row) {
  return {.question = row.at("question").get<std::string>(), .answers = row.at("answer").get<Strings>()};
}

TEST(InstructionSets, VqaAndAOkvqa) {
  PythonRandom random(3);
  const Json &vqa = golden().at("vqa"), &texts = golden().at("vqa_texts");
  for (std::size_t i = 0; i < texts.size(); ++i)
    expect_text(vqa_instruction(vqa_row(vqa[i % vqa.size()]), random), texts[i]);
  const Json& row = golden().at("aokvqa");
  const VqaExample e{.question = row.at("question").get<std::string>(),
                     .choices = row.at("choices").get<Strings>(),
                     .correct_choice = row.at("correct_choice_idx").get<std::int64_t>(),
                     .rationales = row.at("rationales").get<Strings>()};
  for (const auto& text : golden().at("aokvqa_texts")) expect_text(aokvqa_instruction(e, random), text);
  std::int64_t listed = 0;
  for (int i = 0; i < 200; ++i)
    listed += aokvqa_instruction(e, random, true).instruction.find("### Input:\ntoothpick, food") !=
              std::string::npos;
  EXPECT_GT(listed, 60);
  EXPECT_LT(listed, 140);
  EXPECT_ERROR(vqa_instruction({.question = "q"}, random), HasSubstr("\"q\" has no answer"));
}

TEST(InstructionSets, BatchesWithPictures) {
  PythonRandom random(4);
  std::vector<LabelledIds> rows;
  for (std::size_t i = 0; i < 2; ++i)
    rows.push_back(
        label_instruction(vqa_instruction(vqa_row(golden().at("vqa")[i]), random), kTokens, letters));
  expect_batch(collate_labelled(rows, 0), golden().at("batches").at("vqa"));
}

TEST(InstructionSets, TextAlone) {
  const ScratchFolder folder;
  std::string lines;
  for (const auto& row : golden().at("dolly")) lines += row.dump() + '\n';
  const auto dolly = read_instructions(put(folder / "dolly.jsonl", lines), kDollyKeys);
  const auto alpaca =
      read_instructions(put(folder / "alpaca.json", golden().at("alpaca").dump()), kAlpacaKeys);
  for (const auto& [texts, name] : {std::pair(dolly, "dolly"), std::pair(alpaca, "alpaca")}) {
    const Json& expected = golden().at(std::string(name) + "_texts");
    ASSERT_EQ(texts.size(), expected.size());
    std::vector<LabelledIds> rows;
    for (std::size_t i = 0; i < texts.size(); ++i) {
      expect_text(texts[i], expected[i]);
      rows.push_back(label_instruction(texts[i], kTokens, letters));
    }
    expect_batch(collate_labelled(rows, 0), golden().at("batches").at(name));
  }
}

TEST(InstructionSets, Dialogues) {
  const ScratchFolder folder;
  Json file = Json::array();
  for (const auto& text : golden().at("baize")) file.push_back({{"topic", "t"}, {"input", text}});
  const auto dialogues = read_baize(put(folder / "b.json", file.dump()));
  const Json& expected = golden().at("baize_texts");
  ASSERT_EQ(dialogues.size(), expected.size());
  std::vector<LabelledIds> rows;
  for (std::size_t i = 0; i < dialogues.size(); ++i) {
    ASSERT_EQ(dialogues[i].size(), expected[i].size());
    for (std::size_t t = 0; t < dialogues[i].size(); ++t) expect_text(dialogues[i][t], expected[i][t]);
    rows.push_back(label_dialogue(dialogues[i], kTokens, letters));
  }
  expect_batch(collate_labelled(rows, 0), golden().at("batches").at("baize"));
  const auto seen = dialogue_instructions({{"a\nb", "c"}, {"d", "e"}}, true);
  EXPECT_TRUE(seen[0].instruction.ends_with(
      "request.\n\n### Image:\n<image>\n\n### Instruction:\nab\n\n### Response:\n"));
  EXPECT_EQ(seen[1].instruction, "\n\n### Instruction:\nd\n\n### Response:\n");
}

TEST(InstructionSets, WhatIsWrongIsNamed) {
  const ScratchFolder folder;
  EXPECT_ERROR(
      read_instructions(put(folder / "a.json", R"([{"instruction": "i", "input": ""}])"), kAlpacaKeys),
      HasSubstr("a.json: row 0: key \"output\" is missing"));
  EXPECT_ERROR(read_instructions(put(folder / "a.jsonl", "{}\n"), kDollyKeys),
               HasSubstr("a.jsonl: line 1: key \"instruction\""));
  EXPECT_ERROR(read_instructions(put(folder / "list.jsonl", "[\n{}\n]"), kDollyKeys),
               HasSubstr("list.jsonl: line 1: expected JSON lines"));
  EXPECT_ERROR(read_instructions(put(folder / "b.json", "[]"), kAlpacaKeys), HasSubstr("no instruction"));
  EXPECT_ERROR(read_instructions(folder / "no.jsonl", kDollyKeys), HasSubstr("cannot be opened"));
  EXPECT_ERROR(read_baize(put(folder / "c.json", R"([{"input": "[|Human|] a [|Human|] "}])")),
               HasSubstr("c.json: row 0: expected one [|AI|]"));
  EXPECT_ERROR(read_baize(put(folder / "d.json", R"([{"input": "a"}])")), HasSubstr("without turns"));
}

TEST(InstructionSets, PubMedQaReadsTheAbstract) {
  const auto text =
      pubmedqa_instruction({.question = "Is it?", .contexts = {"One.", "Two."}, .long_answer = "It is."});
  EXPECT_TRUE(
      text.instruction.ends_with("### Instruction:\nIs it?\n\n### Input:\nOne.\nTwo.\n\n### Response:\n"));
  EXPECT_EQ(text.answer, "It is.");
}

TEST(JointOrder, IsThatOfTheReference) {
  const Json& expected = golden().at("order");
  JointOrder order{.pictures = 7, .texts = 5, .batch = 3};
  EXPECT_EQ(order.steps_per_epoch(), 3);
  for (const auto from : {std::size_t{0}, std::size_t{4}}) {  // later steps first give the same
    for (std::size_t step = expected.size(); step-- > from;) {
      const auto rows = order.step_rows(static_cast<std::int64_t>(step));
      EXPECT_EQ(rows.with_images, expected[step][0].get<Rows>()) << step;
      EXPECT_EQ(rows.text_alone, expected[step][1].get<Rows>()) << step;
    }
  }
  EXPECT_ERROR((JointOrder{.pictures = 7}.step_rows(0)), HasSubstr("rows of both kinds"));
}

}  // namespace
}  // namespace morphvlm::instruction_sets_test
